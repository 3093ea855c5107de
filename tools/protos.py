#!/usr/bin/env python3
"""Generate what is made from the .proto files, or check that what is committed is what would be made.

    python tools/protos.py            write the stubs and descriptor sets
    python tools/protos.py --check    exit 1 and name the files that differ

Made: `*_pb2.py`, `*_pb2.pyi` and, where there is a service, `*_pb2_grpc.py` beside each of our .proto files; the
published descriptor set `protos/gyrostat.binpb`; and for the Open Inference Protocol only
`oip.binpb` and `*.pyi`, because its modules would claim package `inference` in protobuf's default pool.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from descriptors import OIP_FOLDER, PROTOS, compile_to, descriptor_set, oip_sources, sources, without_comments

PUBLISHED = "gyrostat.binpb"
OIP_SET = f"{OIP_FOLDER}/oip.binpb"
MADE = ("*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py", "*.binpb")


def generate(into: Path) -> None:
    """Write every generated file below `into`, laid out as in the protos folder."""
    own = sources()
    compile_to([f"--python_out={into}", f"--pyi_out={into}"], own)
    with_service = [name for name in own if "\nservice " in (PROTOS / name).read_text()]
    compile_to([f"--grpc_python_out={into}"], with_service)
    (into / PUBLISHED).write_bytes(without_comments(descriptor_set(own)).SerializeToString(deterministic=True))
    if oip := oip_sources():
        compile_to([f"--pyi_out={into}", f"--descriptor_set_out={into / OIP_SET}", "--include_imports"], oip)


def made_files(folder: Path) -> dict[str, bytes]:
    """Return the generated files below a folder by relative name."""
    found = {file for pattern in MADE for file in folder.rglob(pattern)}
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in found}


def differences(committed: dict[str, bytes], fresh: dict[str, bytes]) -> list[str]:
    """Say in a line each which files are missing, stale or different."""
    lines = [f"missing: {name}" for name in sorted(fresh.keys() - committed.keys())]
    lines += [f"no .proto makes it: {name}" for name in sorted(committed.keys() - fresh.keys())]
    both = sorted(fresh.keys() & committed.keys())
    return lines + [f"out of date: {name}" for name in both if fresh[name] != committed[name]]


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 on a difference")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as work:
        generate(Path(work))
        committed, fresh = made_files(PROTOS), made_files(Path(work))
        lines = differences(committed, fresh)
        if check:
            for line in lines:
                print(line)
            sys.exit("generated files differ from the .proto files: run `make protos` and commit" if lines else 0)
        for name in committed.keys() - fresh.keys():
            (PROTOS / name).unlink()
        for name in fresh:
            (PROTOS / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(Path(work) / name, PROTOS / name)
    print(f"{len(fresh)} generated files, {len(lines)} changed")


if __name__ == "__main__":
    main()
