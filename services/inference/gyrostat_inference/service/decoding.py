"""A ModelInferRequest as a Call, and an Answer as a ModelInferResponse."""

import time
import uuid
from collections.abc import Iterable
from typing import Any

import numpy as np
from opentelemetry.trace import Span

from gyrostat_common import oip, telemetry
from gyrostat_common.errors import InvalidInput
from gyrostat_inference.domain.calls import Answer, Call
from gyrostat_inference.domain.errors import TooManyRows, WrongTensor
from gyrostat_inference.domain.tensors import Tensor
from gyrostat_inference.service import parameters
from gyrostat_inference.service.parameters import ENTITY, EVENT_TIME, PREDICTION_ID, REVISION, VARIANT

# Raw contents carry these two; typed contents have no field for them.
_RAW_ONLY = ("FP16", "BF16")


def call_of(
    request: oip.ModelInferRequest,
    metadata: Iterable[tuple[str, Any]],
    max_rows: int | None = None,
    traceparent: str | None = None,
) -> Call:
    """The request in domain words; arrival is now. `max_rows`: nothing is decoded of a request that declares more.
    `traceparent` None: that of the current span.

    Raises UnknownParameter, WrongParameter, TooManyRows, WrongTensor, InvalidInput.
    """
    began = time.perf_counter_ns()
    given = parameters.ours(request)
    if max_rows is not None:
        _refuse_rows(request, max_rows)
    if traceparent is None:
        traceparent = telemetry.current_traceparent()
    return Call(
        model=request.model_name,
        version=request.model_version,
        request_id=parameters.request_id(request),
        prediction_id=parameters.prediction_id(given.get(PREDICTION_ID)),
        entity=parameters.entity(given.get(ENTITY), metadata),
        event_time_us=parameters.event_time(given.get(EVENT_TIME)),
        arrival_us=time.time_ns() // 1000,
        tensors=_tensors(request),
        outputs=[output.name for output in request.outputs],
        traceparent=traceparent if telemetry.sampled(traceparent) else "",
        decode_ns=time.perf_counter_ns() - began,
    )


def _refuse_rows(request: oip.ModelInferRequest, max_rows: int) -> None:
    """By the declared shapes: decoding a huge request would hold up every other caller."""
    rows = max((tensor.shape[0] for tensor in request.inputs if tensor.shape), default=0)
    if rows > max_rows:
        raise TooManyRows(f"{request.model_name}: {rows} rows in one request; at most {max_rows} are allowed")


def _tensors(request: oip.ModelInferRequest) -> dict[str, Tensor]:
    raws = request.raw_input_contents
    if raws and len(raws) != len(request.inputs):
        raise WrongTensor(
            f"{request.model_name}: {len(raws)} raw contents for {len(request.inputs)} inputs; raw is for all or none"
        )
    tensors: dict[str, Tensor] = {}
    for place, tensor in enumerate(request.inputs):
        if tensor.name in tensors:
            raise WrongTensor(f"{request.model_name}: input '{tensor.name}' is there twice")
        what = f"{request.model_name}: input '{tensor.name}'"
        if raws:
            if tensor.HasField("contents"):
                raise WrongTensor(f"{what}: has typed contents beside raw ones; raw is for all or none")
            tensors[tensor.name] = raw_tensor(tensor.datatype, tensor.shape, raws[place], what)
        else:
            values = oip.from_contents(tensor.datatype, tensor.shape, tensor.contents, what)
            raw = oip.to_raw(values)
            tensors[tensor.name] = (
                raw_tensor("BYTES", tensor.shape, raw, what)
                if tensor.datatype == "BYTES"
                else Tensor(tensor.datatype, values, raw)
            )
    return tensors


def raw_tensor(datatype: str, shape: Any, raw: bytes, what: str) -> Tensor:
    """A tensor from raw contents; BYTES become text, as ONNX strings are."""
    if datatype != "BYTES":
        return Tensor(datatype, oip.from_raw(datatype, shape, raw, what), raw)
    count = oip.elements(shape, what)
    if 4 * count > len(raw):
        # Before any decoding: each element has four bytes of length.
        raise WrongTensor(f"{what}: shape {list(shape)} needs {count} BYTES elements, got {len(raw)} bytes")
    if (left := _bytes_after(raw, count)) > 0:
        raise WrongTensor(f"{what}: shape {list(shape)} needs {count} BYTES elements, {left} bytes follow after them")
    try:
        texts = [element.decode() for element in oip.unpack_bytes(raw)]
    except UnicodeDecodeError:
        raise WrongTensor(f"{what}: an element is not UTF-8 text") from None
    except InvalidInput as error:
        raise WrongTensor(f"{what}: {error}") from error
    if len(texts) != count:
        raise WrongTensor(f"{what}: shape {list(shape)} needs {count} BYTES elements, got {len(texts)}")
    values = np.empty(len(texts), dtype=object)
    values[:] = texts
    return Tensor("BYTES", values.reshape(tuple(shape)), raw)


def _bytes_after(raw: bytes, count: int) -> int:
    """How many bytes lie behind the first `count` elements; not positive: none."""
    at = 0
    for _ in range(count):
        if at >= len(raw):
            break
        at += 4 + int.from_bytes(raw[at : at + 4], "little")
    return len(raw) - at


def describe(span: Span, call: Call, answer: Answer) -> None:
    """What a sampled call's span says beside its method. No values."""
    span.set_attribute("gyrostat.model", f"{call.model}:{answer.version}")
    span.set_attribute("gyrostat.variant", answer.variant)
    span.set_attribute("gyrostat.revision", answer.revision)
    span.set_attribute("gyrostat.prediction_id", str(uuid.UUID(bytes=call.prediction_id)))


def reply_of(request: oip.ModelInferRequest, call: Call, answer: Answer) -> oip.ModelInferResponse:
    """The reply, raw or typed as the request was; `id` stays the caller's."""
    reply = oip.ModelInferResponse(model_name=call.model, model_version=str(answer.version), id=call.request_id)
    reply.parameters[PREDICTION_ID].string_param = str(uuid.UUID(bytes=call.prediction_id))
    reply.parameters[VARIANT].string_param = answer.variant
    reply.parameters[REVISION].int64_param = answer.revision
    typed = bool(request.inputs) and not request.raw_input_contents
    typed = typed and not any(output.datatype in _RAW_ONLY for output in answer.outputs)
    for output in answer.outputs:
        tensor = reply.outputs.add(name=output.name, datatype=output.datatype, shape=output.shape)
        if typed:
            oip.fill_contents(tensor.contents, output.datatype, output.values)
        else:
            reply.raw_output_contents.append(output.raw)
    return reply
