"""Starts the child process that reads a graph, under a deadline, and turns what it says into a Signature."""

import asyncio
import json
import sys
from pathlib import Path

from gyrostat_registry.domain.errors import BadArtifact
from gyrostat_registry.domain.version import Signature, TensorSpec

_LONGEST_ANSWER = 4 * 1024 * 1024


class GraphReader:
    """Reads signatures. At most `at_once` children live at a time; each is killed after `timeout_s`."""

    def __init__(self, *, timeout_s: float = 60.0, at_once: int = 2) -> None:
        self._timeout_s = timeout_s
        self._slots = asyncio.Semaphore(at_once)

    async def signature(self, path: Path) -> Signature:
        """What the graph in the file declares. BadArtifact says why the file cannot be served."""
        async with self._slots:
            said = await self._said(path)
        try:
            answer = json.loads(said)
        except ValueError as exc:
            raise BadArtifact("the artifact cannot be read as ONNX: the reader crashed on it") from exc
        if "refused" in answer:
            raise BadArtifact(f"the artifact cannot be served: {answer['refused']}")
        return Signature(_tensors(answer["inputs"]), _tensors(answer["outputs"]))

    async def _said(self, path: Path) -> bytes:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-m", "gyrostat_registry.engine.graph", str(path),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            env={"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "upb"},
        )  # fmt: skip
        assert child.stdout is not None
        try:
            async with asyncio.timeout(self._timeout_s):
                said = await child.stdout.read(_LONGEST_ANSWER)
                while (
                    more := await child.stdout.read(_LONGEST_ANSWER - len(said)) if len(said) < _LONGEST_ANSWER else b""
                ):
                    said += more
                await child.wait()
        except TimeoutError as exc:
            raise BadArtifact(f"the artifact cannot be read as ONNX within {self._timeout_s:g} s") from exc
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        return said


def _tensors(listed: list[dict[str, object]]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(str(tensor["name"]), str(tensor["datatype"]), tuple(int(size) for size in tensor["shape"]))  # type: ignore[attr-defined]
        for tensor in listed
    )
