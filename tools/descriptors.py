"""protoc as a library: the protos folder as stubs, or as a FileDescriptorSet with comments.

Called by `protos.py`, `breaking.py` and `events_doc.py`. Two families: Gyrostat's own packages, whose stubs are
committed; and the Open Inference Protocol, which alone is kept out of protobuf's default pool.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parents[1]
PROTOS = ROOT / "protos"
OIP_FOLDER = "gyrostat/oip"

# Registers the topic option, so that it is readable in every set parsed from here on.
sys.path.insert(0, str(PROTOS))
from gyrostat.events.v1 import options_pb2  # noqa: E402

TOPIC: Any = options_pb2.topic


def sources(folder: Path = PROTOS) -> list[str]:
    """Return our own .proto files, relative to the folder."""
    found = (file.relative_to(folder).as_posix() for file in folder.glob("gyrostat/**/*.proto"))
    return sorted(name for name in found if not name.startswith(OIP_FOLDER))


def oip_sources(folder: Path = PROTOS) -> list[str]:
    """Return the .proto files of the Open Inference Protocol, relative to the folder."""
    return sorted(file.relative_to(folder).as_posix() for file in folder.glob(f"{OIP_FOLDER}/*.proto"))


def compile_to(arguments: Sequence[str], names: Sequence[str], folder: Path = PROTOS) -> None:
    """Run protoc on these files; SystemExit with its message on standard error when they are wrong."""
    google = files("grpc_tools") / "_proto"
    if protoc.main(["protoc", f"-I{folder}", f"-I{google}", *arguments, *names]):
        raise SystemExit(f"protoc refused {', '.join(names)}")


def descriptor_set(names: Sequence[str], folder: Path = PROTOS) -> descriptor_pb2.FileDescriptorSet:
    """Return the files with their imports and their comments."""
    with tempfile.TemporaryDirectory() as work:
        out = Path(work) / "set.binpb"
        compile_to([f"--descriptor_set_out={out}", "--include_imports", "--include_source_info"], names, folder)
        return descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes())


def without_comments(given: descriptor_pb2.FileDescriptorSet) -> descriptor_pb2.FileDescriptorSet:
    """Return a copy without source positions, small and stable under reformatting."""
    slim = descriptor_pb2.FileDescriptorSet()
    slim.CopyFrom(given)
    for file in slim.file:
        file.ClearField("source_code_info")
    return slim
