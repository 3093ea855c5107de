"""Spans of REST calls are requests of HTTP in OpenTelemetry's words; those of gRPC are calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.graphs import a_scorer
from support.rest import doors
from support.spans import recorded

SCORER = a_scorer({"wind": 1.0})
ROWS = [{"name": "wind", "datatype": "FP32", "shape": [1, 1], "data": [2]}]


@pytest.mark.parametrize(
    ("path", "options", "name", "status"),
    [
        ("/v2/models/flights/infer", {"json": {"inputs": ROWS}}, "POST /v2/models/{name}/infer", 200),
        (
            "/v2/models/flights/versions/4/infer",
            {"json": {"inputs": ROWS}},
            "POST /v2/models/{name}/versions/{version}/infer",
            200,
        ),
        ("/v2/models/trains/infer", {"json": {"inputs": ROWS}}, "POST /v2/models/{name}/infer", 404),
        ("/v2/models/flights/infer", {"data": b"junk"}, "POST /v2/models/{name}/infer", 400),
    ],
)
async def test_a_span_of_rest_is_a_request(tmp_path: Path, path: str, options: dict[str, Any], name: str, status: int):
    async with doors(tmp_path, {"flights": SCORER}) as served:
        with recorded(ratio=1.0) as spans:
            assert (await served.post(path, **options))[0] == status
    (span,) = spans.finished()
    assert span.name == name
    said = {key: value for key, value in span.attributes.items() if key.startswith(("http.", "url.", "rpc."))}
    assert said == {
        "http.request.method": "POST",
        "http.route": name.removeprefix("POST "),
        "http.response.status_code": status,
        "url.path": path,
        "url.scheme": "http",
    }
