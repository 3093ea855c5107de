"""tritonclient over HTTP, in an environment of its own: `rest_client.py PORT`. Prints a line per check."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

CLIENT = triton.InferenceServerClient(f"127.0.0.1:{sys.argv[1]}", concurrency=4)
X = np.array([[1], [2]], np.float32)
WORDS = np.array([["UA"], ["ü"]], dtype=object)


def inputs(binary: bool) -> list[Any]:
    given = {"distance": ("FP32", X), "wind": ("FP32", X / 2), "carrier": ("BYTES", WORDS)}
    made = [triton.InferInput(name, [2, 1], datatype) for name, (datatype, _) in given.items()]
    for tensor, (_, values) in zip(made, given.values(), strict=True):
        tensor.set_data_from_numpy(values, binary_data=binary)
    return made


def health() -> None:
    assert CLIENT.is_server_live()
    assert CLIENT.is_server_ready()
    assert CLIENT.is_model_ready("flights")
    assert CLIENT.is_model_ready("flights", "4")
    assert not CLIENT.is_model_ready("trains")


def descriptions() -> None:
    assert CLIENT.get_server_metadata()["name"] == "gyrostat"
    assert CLIENT.get_model_metadata("flights")["inputs"][0] == {
        "name": "distance",
        "datatype": "FP32",
        "shape": [-1, 1],
    }
    assert CLIENT.get_model_config("flights")["input"][0]["data_type"] == "TYPE_FP32"
    assert CLIENT.get_model_repository_index()[0]["state"] == "READY"
    assert CLIENT.get_inference_statistics("flights")["model_stats"][0]["version"] == "4"
    assert len(CLIENT.get_inference_statistics()["model_stats"]) == 1


def inference() -> None:
    expected = 1 / (1 + np.exp(-X / 2))
    score, label = triton.InferRequestedOutput, triton.InferRequestedOutput("label", binary_data=False)
    wanted = (None, [score("probabilities", binary_data=True), label], [score("probabilities", binary_data=False)])
    for binary in (True, False):
        for outputs in wanted:
            for packed in (None, "gzip", "deflate"):
                reply = CLIENT.infer(
                    "flights", inputs(binary), outputs=outputs, request_id="r-1",
                    request_compression_algorithm=packed, response_compression_algorithm=packed,
                    headers={"gyrostat-entity": "e"},
                )  # fmt: skip
                assert np.allclose(reply.as_numpy("probabilities")[:, 1:], expected, atol=1e-6)
                assert reply.get_response()["id"] == "r-1"


def at_once() -> None:
    calls = [CLIENT.async_infer("flights", inputs(True)) for _ in range(200)]
    assert all(call.get_result().as_numpy("label").tolist() == [1, 1] for call in calls)


def errors() -> None:
    for call, status, words in (
        (lambda: CLIENT.infer("flights", inputs(True)[:1]), "400", "input 'wind' (FP32 [-1, 1]) is missing"),
        (lambda: CLIENT.infer("trains", inputs(True)), "404", "no model is named 'trains'"),
        (lambda: CLIENT.unload_model("flights"), "409", "the serving plan decides"),
    ):
        try:
            call()
        except InferenceServerException as error:
            refused = error
        else:
            raise AssertionError(f"{status} expected")
        assert (refused.status(), words in refused.message()) == (status, True), refused


CHECKS: tuple[Callable[[], None], ...] = (health, descriptions, inference, at_once, errors)
for check in CHECKS:
    try:
        check()
    except Exception as error:  # of whatever kind, it is what the check says
        print(f"failed\t{check.__name__}\t{' '.join(repr(error).split())[:500]}")
    else:
        print(f"ok\t{check.__name__}")
CLIENT.close()
