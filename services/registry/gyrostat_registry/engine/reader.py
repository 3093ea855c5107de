"""Starts the child process that reads a graph, under a deadline, and turns what it says into a Signature."""

import asyncio
import json
import sys
from pathlib import Path

from gyrostat_common import telemetry
from gyrostat_registry.domain.errors import BadArtifact
from gyrostat_registry.domain.version import Signature, TensorSpec

log = telemetry.get_logger(__name__)
_LONGEST_ANSWER = 4 * 1024 * 1024
# Nothing of ours; one thread, for idle ones would count against the limit on memory.
_ENVIRONMENT = {"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "upb", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


class GraphReader:
    """Reads signatures. At most `at_once` children live at a time; each is killed after `timeout_s`."""

    def __init__(self, *, timeout_s: float = 60.0, at_once: int = 2) -> None:
        self._timeout_s = timeout_s
        self._slots = asyncio.Semaphore(at_once)

    async def signature(self, path: Path) -> Signature:
        """What the graph in the file declares. BadArtifact says why the file cannot be served."""
        async with self._slots:
            said, complaint = await self._said(path)
        try:
            answer = json.loads(said)
        except ValueError as exc:
            log.warning("graph_reader_crashed", complaint=complaint)
            raise BadArtifact(f"the artifact cannot be read as ONNX: the reader crashed on it ({complaint})") from exc
        if "refused" in answer:
            raise BadArtifact(f"the artifact cannot be served: {answer['refused']}")
        return Signature(_tensors(answer["inputs"]), _tensors(answer["outputs"]))

    async def _said(self, path: Path) -> tuple[bytes, str]:
        """What the child printed, and how it ended: its exit code and the last line of its complaint."""
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-m", "gyrostat_registry.engine.graph", str(path),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env=_ENVIRONMENT,
        )  # fmt: skip
        assert child.stdout is not None
        assert child.stderr is not None
        try:
            async with asyncio.timeout(self._timeout_s):
                said, complaint = await asyncio.gather(_bounded(child.stdout), _bounded(child.stderr))
                await child.wait()
        except TimeoutError as exc:
            raise BadArtifact(f"the artifact cannot be read as ONNX within {self._timeout_s:g} s") from exc
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        last = complaint.decode(errors="replace").strip().splitlines()[-1:]
        return said, ": ".join([f"exit code {child.returncode}", *(line[:300] for line in last)])


async def _bounded(stream: asyncio.StreamReader) -> bytes:
    """The first 4 MiB; the child is killed, or gets a broken pipe, when it says more."""
    said = b""
    while len(said) < _LONGEST_ANSWER and (more := await stream.read(_LONGEST_ANSWER - len(said))):
        said += more
    return said


def _tensors(listed: list[dict[str, object]]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(str(tensor["name"]), str(tensor["datatype"]), tuple(int(size) for size in tensor["shape"]))  # type: ignore[attr-defined]
        for tensor in listed
    )
