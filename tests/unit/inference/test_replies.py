"""A prepared reply says what a built one says, whatever the ids, values, versions and shapes."""

from __future__ import annotations

import uuid

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gyrostat_common import oip
from gyrostat_inference.domain.calls import Answer, Call, Output
from gyrostat_inference.domain.tensors import Form
from gyrostat_inference.service.decoding import reply_of
from gyrostat_inference.service.replies import Replies
from support.live_models import a_call

REQUEST = oip.ModelInferRequest(model_name="flights")
oip.add_input(REQUEST, "x", np.zeros((1, 1), np.float32))
FORMS = {model: Form([("x", "FP32", (1, 1))], ()) for model in ("flights", "", "züge")}
ids = st.sampled_from(["", "r", "i" * 200, "ü"])


@st.composite
def answers(draw: st.DrawFn) -> tuple[Call, Answer]:
    model = draw(st.sampled_from(sorted(FORMS)))
    uid = draw(st.uuids()).bytes
    call = a_call(model=model, request_id=draw(ids), prediction_id=uid, form=FORMS[model])
    outputs = []
    for n in range(draw(st.integers(0, 3))):
        shape = draw(st.sampled_from([(1,), (2, 3), (), (0, 2), (300, 2)]))
        values = np.full(shape, draw(st.integers(0, 255)), np.uint8)
        outputs.append(Output(f"y{n}", "UINT8", values, values.tobytes()))
    variant = draw(st.sampled_from(["champion", "canary"]))
    return call, Answer(draw(st.integers(1, 3)), variant, draw(st.integers(0, 2)), outputs)


@settings(max_examples=200, deadline=None)
@given(st.lists(answers(), max_size=30))
def test_prepared_replies_say_what_built_ones_say(given_answers: list[tuple[Call, Answer]]):
    replies = Replies(most_prepared=7)
    for call, answer in given_answers:
        encoded = replies.encoded(REQUEST, call, answer)
        assert oip.ModelInferResponse.FromString(encoded) == reply_of(REQUEST, call, answer)


def test_an_unusual_request_is_answered_in_its_own_form():
    typed = oip.ModelInferRequest(model_name="flights")
    typed.inputs.add(name="x", datatype="FP32", shape=[1, 1]).contents.fp32_contents.append(1.0)
    call, values = a_call(), np.zeros((1, 1), np.float32)
    answer = Answer(4, "champion", 7, [Output("y", "FP32", values, values.tobytes())])
    reply = oip.ModelInferResponse.FromString(Replies().encoded(typed, call, answer))
    assert list(reply.outputs[0].contents.fp32_contents) == [0.0]


def test_what_is_prepared_is_bounded_and_found_again():
    replies = Replies(most_prepared=2)
    values = np.zeros((1, 1), np.float32)
    for revision in (1, 2, 3, 3):
        call = a_call(form=FORMS["flights"], prediction_id=uuid.uuid4().bytes)
        replies.encoded(REQUEST, call, Answer(4, "champion", revision, [Output("y", "FP32", values, b"\0" * 4)]))
    assert len(replies._prepared) == 1
