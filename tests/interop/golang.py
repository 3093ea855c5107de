"""grpc-go's checks, by the programs that its users have: grpcurl and ghz."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from collections.abc import Callable
from typing import Any

from interop.echo_process import ROOT, Addresses

TOOLS = ROOT / "build" / "tools"
INFER, STREAM = "inference.GRPCInferenceService/ModelInfer", "inference.GRPCInferenceService/ModelStreamInfer"
LIMIT_S = 120.0


def grpcurl(*args: str, given: str = "", code: int = 0) -> str:
    """What it prints. `code`: what it ends with; 64 and the gRPC status for a call that failed."""
    done = subprocess.run(
        [str(TOOLS / "grpcurl"), *args], input=given, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert done.returncode == code, f"grpcurl {' '.join(args)[:200]} ended with {done.returncode}: {done.stderr[-500:]}"
    return done.stdout + done.stderr


def call(at: Addresses, model: str, *more: str, code: int = 0) -> str:
    """A unary call by grpcurl."""
    return grpcurl("-plaintext", *more, "-d", "@", at.plain, INFER, given=json.dumps(asking(model)), code=code)


def asking(model: str, content: bytes | None = None, **numbers: int) -> dict[str, Any]:
    """A request as JSON."""
    request: dict[str, Any] = {"model_name": model, "id": "one"}
    request["parameters"] = {name: {"int64_param": number} for name, number in numbers.items()}
    if content is not None:
        request["inputs"] = [{"name": "x", "datatype": "UINT8", "shape": [len(content)]}]
        request["raw_input_contents"] = [base64.b64encode(content).decode()]
    return request


def content(reply: dict[str, Any]) -> bytes:
    return base64.b64decode(reply["rawOutputContents"][0])


def seen(at: Addresses) -> tuple[int, int]:
    parameters = json.loads(call(at, "seen"))["parameters"]
    return int(parameters["held"]["int64Param"]), int(parameters["cancelled"]["int64Param"])


def lists(at: Addresses) -> None:
    names = grpcurl("-plaintext", at.plain, "list").split()
    for name in ("inference.GRPCInferenceService", "grpc.health.v1.Health", "test.Bytes"):
        assert name in names, names


def describes(at: Addresses) -> None:
    told = grpcurl("-plaintext", at.plain, "describe", "inference.GRPCInferenceService")
    assert "rpc ModelInfer ( .inference.ModelInferRequest ) returns ( .inference.ModelInferResponse );" in told, told
    assert "ModelInferRequest" in grpcurl("-plaintext", at.plain, "describe", ".inference.ModelInferRequest")


def unary(at: Addresses) -> None:
    given = json.dumps(asking("echo", b"hello"))
    reply = json.loads(grpcurl("-plaintext", "-d", "@", at.plain, INFER, given=given))
    assert content(reply) == b"hello", reply


def large(at: Addresses) -> None:
    sent = bytes(range(256)) * 31_251
    options = ("-plaintext", "-max-msg-sz", "100000000", "-d", "@", at.plain, INFER)
    assert content(json.loads(grpcurl(*options, given=json.dumps(asking("echo", sent))))) == sent


def metadata(at: Addresses) -> None:
    raw = base64.b64encode(bytes([0, 1, 255])).decode()
    told = call(at, "metadata", "-v", "-H", "echo-text: a b", "-H", f"echo-raw-bin: {raw}")
    assert '"stringParam": "0001ff"' in told, told
    trailers = told[told.index("Response trailers received:") :]
    assert "echo-text: a b" in trailers, trailers
    assert f"echo-raw-bin: {raw.rstrip('=')}" in trailers, trailers


def details(at: Addresses) -> None:
    told = call(at, "refused", code=64 + 3)
    for word in ("InvalidArgument", "one: not to be echoed", "google.rpc.ErrorInfo", "gyrostat.dev"):
        assert word in told, told


def codes(at: Addresses) -> None:
    for code in range(1, 17):
        given = json.dumps(asking("code", code=code))
        told = grpcurl("-plaintext", "-d", "@", at.plain, INFER, given=given, code=64 + code)
        assert "100 % näher, in zwei" in told, told


def unimplemented(at: Addresses) -> None:
    grpcurl("-plaintext", "-d", "{}", at.plain, "inference.GRPCInferenceService/ModelConfig", code=64 + 12)


def deadline(at: Addresses) -> None:
    """grpc-go takes the call back, and the handler hears of it."""
    before = seen(at)
    call(at, "held", "-max-time", "0.3", code=64 + 4)
    until(lambda: seen(at)[1] == before[1] + 1)


def killed(at: Addresses) -> None:
    """A client that dies takes its calls along."""
    before = seen(at)
    command = [str(TOOLS / "grpcurl"), "-plaintext", "-d", json.dumps(asking("held")), at.plain, INFER]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: seen(at)[0] == before[0] + 1)
    process.kill()
    process.wait(10)
    until(lambda: seen(at)[1] == before[1] + 1)


def until(look: Callable[[], bool]) -> None:
    """Looks again and again; looking takes a tenth of a second."""
    end = time.monotonic() + 30
    while not look():
        assert time.monotonic() < end, "it never came true"


def streams(at: Addresses) -> None:
    requests = "\n".join(json.dumps(asking("echo", bytes([n]) * 1000)) for n in range(200))
    told = grpcurl("-plaintext", "-d", "@", at.plain, STREAM, given=requests)
    decoder, replies = json.JSONDecoder(), []
    while told := told.lstrip():
        reply, end = decoder.raw_decode(told)
        replies.append(content(reply["inferResponse"]))
        told = told[end:]
    assert replies == [bytes([n]) * 1000 for n in range(200)], len(replies)


def failing_stream(at: Addresses) -> None:
    given = "\n".join(json.dumps(one) for one in (asking("echo", b"x"), asking("refused")))
    told = grpcurl("-plaintext", "-d", "@", at.plain, STREAM, given=given, code=64 + 3)
    assert "one: not to be echoed" in told, told


def health(at: Addresses) -> None:
    assert "SERVING" in grpcurl("-plaintext", "-d", "{}", at.plain, "grpc.health.v1.Health/Check")


def watch(at: Addresses) -> None:
    told = grpcurl("-plaintext", "-max-time", "0.5", "-d", "{}", at.plain, "grpc.health.v1.Health/Watch", code=64 + 4)
    assert "SERVING" in told, told


def tls(at: Addresses) -> None:
    given = json.dumps(asking("echo", b"secret"))
    reply = grpcurl("-cacert", str(at.authority), "-d", "@", at.tls, INFER, given=given)
    assert content(json.loads(reply)) == b"secret", reply


def ghz(at: Addresses, *more: str, method: str = INFER, given: Any = None, calls: int = 2000) -> None:
    """A load whose calls all end with OK."""
    command = [str(TOOLS / "ghz"), "--call", method, "-n", str(calls), "-c", "32", "--connections", "4", "-O", "json"]
    message = json.dumps(given or asking("echo", bytes(80)))
    told = subprocess.run(
        [*command, *more, "-d", message], capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert told.returncode == 0, told.stderr[-500:]
    report = json.loads(told.stdout)
    assert report["statusCodeDistribution"] == {"OK": calls}, report["statusCodeDistribution"]


def ghz_streams(at: Addresses) -> None:
    ghz(at, "--insecure", at.plain, method=STREAM, given=[asking("echo", b"x")] * 5, calls=500)


CHECKS: dict[str, Callable[[Addresses], None]] = {
    "grpcurl: list": lists,
    "grpcurl: describe": describes,
    "grpcurl: unary": unary,
    "grpcurl: large messages": large,
    "grpcurl: metadata and trailers": metadata,
    "grpcurl: error with details": details,
    "grpcurl: every code": codes,
    "grpcurl: unimplemented": unimplemented,
    "grpcurl: deadline": deadline,
    "grpcurl: killed in a call": killed,
    "grpcurl: streams both ways": streams,
    "grpcurl: a stream that fails": failing_stream,
    "grpcurl: health Check": health,
    "grpcurl: health Watch": watch,
    "grpcurl: TLS": tls,
    "ghz: 2,000 calls": lambda at: ghz(at, "--insecure", at.plain),
    "ghz: gzip": lambda at: ghz(at, "--insecure", "--enable-compression", at.plain),
    "ghz: TLS": lambda at: ghz(at, "--cacert", str(at.authority), at.tls),
    "ghz: streams": lambda at: ghz(
        at, "--insecure", at.plain, method=STREAM, given=[asking("echo", b"x")] * 5, calls=500
    ),
}
