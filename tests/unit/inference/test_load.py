"""A graph against the signature that was registered for it."""

import pytest

from gyrostat_inference.domain.plan import Signature, TensorSpec
from gyrostat_inference.usecases.load import differences

X, Y = TensorSpec("x", "FP32", (-1, 1)), TensorSpec("y", "FP32", (-1, 2))
REGISTERED = Signature((X,), (Y,))


@pytest.mark.parametrize(
    "found",
    [
        REGISTERED,
        Signature((X,), (TensorSpec("y", "FP32", (3, 2)),)),
        Signature((X,), (TensorSpec("y", "FP32", ()),)),
    ],
)
def test_shapes_may_be_known_to_a_different_degree(found: Signature):
    assert differences(REGISTERED, found) == ""


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (Signature((), (Y,)), "input 'x' is missing"),
        (Signature((X, TensorSpec("z", "FP32", (-1, 1))), (Y,)), "input 'z' was not registered"),
        (Signature((TensorSpec("x", "FP64", (-1, 1)),), (Y,)), "input 'x' is FP64 [-1, 1], registered as FP32 [-1, 1]"),
        (Signature((TensorSpec("x", "FP32", (-1, 2)),), (Y,)), "input 'x' is FP32 [-1, 2], registered as FP32 [-1, 1]"),
        (Signature((TensorSpec("x", "FP32", (-1,)),), (Y,)), "input 'x' is FP32 [-1], registered as FP32 [-1, 1]"),
        (Signature((X,), ()), "output 'y' is missing"),
    ],
)
def test_other_tensors_are_named(found: Signature, said: str):
    assert differences(REGISTERED, found) == said
