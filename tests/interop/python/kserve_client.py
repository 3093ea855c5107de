"""kserve's InferenceRESTClient, in an environment of its own: `kserve_client.py URL [CA]`. Prints a line per check."""

from __future__ import annotations

import asyncio
import ssl
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

URL = sys.argv[1]
X = np.array([[1], [2]], np.float32)
WORDS = np.array([["UA"], ["ü"]], dtype=object)


def request(binary: bool, **fields: Any) -> InferRequest:
    given = {"distance": ("FP32", X), "wind": ("FP32", X / 2), "carrier": ("BYTES", WORDS)}
    inputs = [InferInput(name, [2, 1], datatype) for name, (datatype, _) in given.items()]
    for tensor, (_, values) in zip(inputs, given.values(), strict=True):
        tensor.set_data_from_numpy(values, binary_data=binary)
    return InferRequest(model_name="flights", infer_inputs=inputs, **fields)


async def health(client: InferenceRESTClient) -> None:
    assert await client.is_server_live(URL)
    assert await client.is_server_ready(URL)
    assert await client.is_model_ready(URL, "flights")
    assert not await client.is_model_ready(URL, "trains")


async def inference(client: InferenceRESTClient) -> None:
    expected = 1 / (1 + np.exp(-X / 2))
    for binary in (True, False):
        for outputs in (None, [RequestedOutput("probabilities", {"binary_data": True})]):
            asked = request(binary, request_outputs=outputs, request_id="r-1")
            reply = await client.infer(URL, asked, model_name="flights")
            scores = next(output for output in reply.outputs if output.name == "probabilities").as_numpy()
            assert np.allclose(scores[:, 1:], expected, atol=1e-6)
            assert reply.id == "r-1"


async def at_once(client: InferenceRESTClient) -> None:
    replies = await asyncio.gather(*(client.infer(URL, request(True), model_name="flights") for _ in range(100)))
    assert all(reply.outputs for reply in replies)


async def errors(client: InferenceRESTClient) -> None:
    try:
        await client.infer(URL, request(True), model_name="trains")
    except httpx.HTTPStatusError as error:
        refused = error.response
    else:
        raise AssertionError("404 expected")
    assert (refused.status_code, "no model is named 'trains'" in refused.text) == (404, True), refused.text


CHECKS: tuple[Callable[[InferenceRESTClient], Awaitable[None]], ...] = (health, inference, at_once, errors)


async def main() -> None:
    trusted: Any = ssl.create_default_context(cafile=sys.argv[2]) if len(sys.argv) > 2 else True
    client = InferenceRESTClient(RESTConfig(protocol="v2", verify=trusted))
    for check in CHECKS:
        try:
            await check(client)
        except Exception as error:  # of whatever kind, it is what the check says
            print(f"failed\t{check.__name__}\t{' '.join(repr(error).split())[:500]}")
        else:
            print(f"ok\t{check.__name__}")
    await client.close()


asyncio.run(main())
