"""The echo as a process, on a port without and a port with TLS: `server.py --front own --folder FOLDER`.

Prints one line of JSON with the ports, then logs nothing and serves until it is told to end. In FOLDER lie the
certificate authority (`authority/ca.pem`) and the descriptors of all that is served (`descriptors.binpb`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import structlog
import uvloop
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gyrostat_common import oip
from support.certificates import Authority
from support.fronts import FRONTS, serving


def describe(file: Path) -> None:
    """Writes the descriptors, those that others need first."""
    files: dict[str, descriptor_pb2.FileDescriptorProto] = {}

    def add(descriptor: object) -> None:
        for needed in descriptor.dependencies:
            add(needed)
        proto = descriptor_pb2.FileDescriptorProto()
        descriptor.CopyToProto(proto)
        files.setdefault(proto.name, proto)

    for descriptor in (
        oip.POOL.FindFileContainingSymbol(oip.SERVICE),
        health_pb2.DESCRIPTOR,
        reflection_pb2.DESCRIPTOR,
    ):
        add(descriptor)
    file.write_bytes(descriptor_pb2.FileDescriptorSet(file=files.values()).SerializeToString())


async def main(front: str, folder: Path, limits: dict[str, float]) -> None:
    describe(folder / "descriptors.binpb")
    certificate = Authority(folder / "authority").issue("echo")
    end = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end.set)
    async with AsyncExitStack() as stack:
        plain = await stack.enter_async_context(serving(front, limits=limits, grace_s=1.0))
        secure = await stack.enter_async_context(serving(front, limits=limits, tls=certificate, grace_s=1.0))
        print(json.dumps({"plain": plain.port, "tls": secure.port}), flush=True)
        await end.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--front", choices=FRONTS, default="own")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--limits", type=json.loads, default={}, help="of our own front, as JSON")
    args = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    uvloop.run(main(args.front, args.folder, args.limits))
