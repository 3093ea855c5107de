"""Bodies of the REST twin, and samples to warm up with."""

from __future__ import annotations

import copy
import json
from random import Random
from typing import Any

from fuzz import mutating
from fuzz.conftest import Fuzz
from gyrostat_inference.domain.plan import Signature, TensorSpec
from gyrostat_inference.domain.samples import runs_of, samples_of
from gyrostat_inference.service.decoding import call_of
from gyrostat_inference.service.rest_bodies import InferBody
from gyrostat_registry.domain.spec import samples_problem

SIGNATURE = Signature((TensorSpec("x", "FP32", (-1, 3)), TensorSpec("word", "BYTES", (-1,))), ())
GOOD: dict[str, Any] = {
    "id": "one",
    "parameters": {"gyrostat_entity": "N14228", "binary_data_output": False},
    "inputs": [
        {"name": "x", "datatype": "FP32", "shape": [2, 3], "parameters": {"binary_data_size": 24}},
        {"name": "word", "datatype": "BYTES", "shape": [2], "data": ["one", "ä"]},
    ],
    "outputs": [{"name": "y", "parameters": {"binary_data": True}}],
}
SAMPLE: dict[str, Any] = {
    "inputs": [
        {"name": "x", "datatype": "FP32", "shape": [2, 3], "data": [[1, 2, 3], [4, 5, 6.5]]},
        {"name": "word", "datatype": "BYTES", "shape": [2], "data": ["one", "ä"]},
    ]
}
ODD: list[Any] = [
    None, True, 0, -1, 1.5, 2**31, 2**63, 2**64, -(2**63), 10**400, 1e308, "", "x", "\ud800", "\0", "NaN", "FP64",
    "BYTES", "BF16", [], {},
    [[]], [[1], 2], [-1], [0], [2**40, 2**40], [1] * 40, {"name": 3}, {"data": {}}, float("nan"),
]  # fmt: skip


def changed(random: Random, good: Any) -> Any:
    """The document with one to three of its values taken away, replaced or doubled, wherever they lie."""
    document = copy.deepcopy(good)
    for _ in range(random.randint(1, 3)):
        at: Any = document
        while True:
            keys = list(at) if isinstance(at, dict) else list(range(len(at)))
            if not keys:
                break
            key = random.choice(keys)
            if isinstance(at[key], dict | list) and random.random() < 0.7:
                at = at[key]
                continue
            match random.randrange(4):
                case 0:
                    del at[key]
                case 1 if isinstance(at, list):
                    at.append(copy.deepcopy(at[key]))
                case _:
                    at[key] = copy.deepcopy(random.choice(ODD))
            break
    return document


def a_text(random: Random, good: dict[str, Any]) -> bytes:
    if random.random() < 0.3:
        return mutating.raw(random, json.dumps(good).encode())
    return json.dumps(changed(random, good)).encode()


def test_a_rest_body_is_understood_or_refused(fuzz: Fuzz) -> None:
    def make(random: Random) -> tuple[bytes, str | None]:
        head = a_text(random, GOOD)
        size = len(head) + random.choice((0, 0, 0, 0, -1, 1, 10**20))
        return head + bytes(random.choice((24, 24, 24, 0, 25))), str(size) if random.random() < 0.9 else None

    def read(given: tuple[bytes, str | None]) -> None:
        body, length = given
        call_of(InferBody("flights", "", body, length).request(), (), 4096)

    read((json.dumps(GOOD).encode() + bytes(24), str(len(json.dumps(GOOD)))))
    fuzz(make, read)


def test_samples_are_taken_or_left_out(fuzz: Fuzz) -> None:
    def read(text: bytes) -> None:
        samples_problem(text)
        samples, problem = samples_of(text.decode(errors="replace"), SIGNATURE)
        assert samples or problem or not text or json.loads(text) == []
        runs_of(samples, (1, 7), SIGNATURE)

    assert samples_of(json.dumps(SAMPLE), SIGNATURE)[1] == ""
    fuzz(lambda random: a_text(random, SAMPLE), read)
