"""Clients that people have: the synchronous one of grpcio, and Triton's. Other languages: `make interop`."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gyrostat_common import oip
from support.echo import ABORTED_TEXT, a_request, an_echo
from support.fronts import Running


def on_a_thread(work: Any) -> Any:
    """The servers live in this loop; a client that blocks has a thread of its own."""
    return asyncio.to_thread(work)


async def test_the_synchronous_client_calls_streams_cancels_and_gives_up(server: Running):
    def work() -> dict[str, Any]:
        seen: dict[str, Any] = {}
        with grpc.insecure_channel(server.address) as channel:
            stub = oip.Stub(channel)
            seen["echo"] = stub.ModelInfer(an_echo(b"x" * 500_000), timeout=30).raw_output_contents[0]
            gzip = stub.ModelInfer(an_echo(b"y" * 5000), timeout=30, compression=grpc.Compression.Gzip)
            seen["gzip"] = gzip.raw_output_contents[0]
            stream = stub.ModelStreamInfer(iter([an_echo(bytes([n])) for n in range(50)]), timeout=30)
            seen["stream"] = b"".join(reply.infer_response.raw_output_contents[0] for reply in stream)
            _, call = stub.ModelInfer.with_call(a_request("metadata"), metadata=(("echo-a", "1"),), timeout=30)
            seen["trailers"] = [(key, value) for key, value in call.trailing_metadata() if key.startswith("echo-")]
            with pytest.raises(grpc.RpcError) as caught:
                stub.ModelInfer(a_request("code", code=9), timeout=30)
            seen["error"] = caught.value.code(), caught.value.details()
            with pytest.raises(grpc.RpcError) as caught:
                stub.ModelInfer(a_request("held"), timeout=0.2)
            seen["late"] = caught.value.code()
            future = stub.ModelInfer.future(a_request("held"))
            future.cancel()
            seen["cancelled"] = future.code()
            watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=""))
            seen["health"] = next(watch).status
            watch.cancel()
        return seen

    seen = await on_a_thread(work)
    assert seen["echo"] == b"x" * 500_000
    assert seen["gzip"] == b"y" * 5000
    assert seen["stream"] == bytes(range(50))
    assert seen["trailers"] == [("echo-a", "1")]
    assert seen["error"] == (grpc.StatusCode.FAILED_PRECONDITION, ABORTED_TEXT)
    assert seen["late"] is grpc.StatusCode.DEADLINE_EXCEEDED
    assert seen["cancelled"] is grpc.StatusCode.CANCELLED
    assert seen["health"] == health_pb2.HealthCheckResponse.SERVING


async def test_tritons_client_infers_streams_and_is_told_why_not(server: Running):
    from tritonclient import grpc as triton
    from tritonclient.utils import InferenceServerException

    numbers = np.arange(40, dtype=np.float32).reshape(2, 20)

    def given() -> list[Any]:
        tensor = triton.InferInput("x", [2, 20], "FP32")
        tensor.set_data_from_numpy(numbers)
        return [tensor]

    def work() -> list[Any]:
        streamed: list[Any] = []
        client = triton.InferenceServerClient(server.address)
        try:
            assert client.is_server_live()
            assert client.get_server_metadata().name == "echo"
            plain = client.infer("echo", given(), request_id="mine", client_timeout=30)
            gzip = client.infer("echo", given(), compression_algorithm="gzip")
            with pytest.raises(InferenceServerException) as caught:
                client.infer("refused", given())
            client.start_stream(lambda result, error: streamed.append(error or result))
            for _ in range(5):
                client.async_stream_infer("echo", given())
            client.stop_stream()
        finally:
            client.close()
        assert plain.get_response().id == "mine"
        assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
        return [plain, gzip, *streamed]

    results = await on_a_thread(work)
    assert len(results) == 7
    for result in results:
        assert np.array_equal(result.as_numpy("x"), numbers)
