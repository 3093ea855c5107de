"""The suite's places: a folder of this machine, and a bucket of a real S3 server."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.objects import Place


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Empty."""
    if request.param == "folder":
        return Place(f"file://{tmp_path}/store", tmp_path / "store")
    bucket = request.getfixturevalue("bucket")
    return Place(bucket.uri("store"), bucket.folder / "store")
