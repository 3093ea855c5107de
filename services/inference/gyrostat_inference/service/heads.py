"""The usual request, understood without being read again: raw contents, and in front of them what the caller's last
request said too.

A message of the protocol is a row of records. Without its id, its parameters and its raw contents, what is left of it,
its head, is the same in every request of one form; what a head says is found out once, by `decoding.call_of`, and kept
by its bytes. Whatever is unusual about a request is left to `call_of`, so that there is one text for every refusal.
Used by the lane; the proof that both give the same is a property test.
"""

from collections.abc import Callable
from functools import lru_cache
from time import perf_counter_ns, time_ns
from typing import Any, Final, NamedTuple

from google.protobuf.message import DecodeError

from gyrostat_common import oip
from gyrostat_common.errors import InvalidInput
from gyrostat_common.ids import Uuids
from gyrostat_inference.domain.calls import Call
from gyrostat_inference.domain.live import LiveModels
from gyrostat_inference.domain.tensors import Columns, Form, Tensor
from gyrostat_inference.service import parameters
from gyrostat_inference.service.decoding import call_of, raw_tensor
from gyrostat_inference.service.parameters import ENTITY, ENTITY_METADATA, EVENT_TIME, PREDICTION_ID

MOST_HEADS, LONGEST_HEAD = 4096, 4096
# Tags of the fields of a ModelInferRequest that have a length.
_MODEL, _VERSION, _ID, _PARAMETER, _RAW = 0x0A, 0x12, 0x1A, 0x22, 0x3A
_ONE_BYTE = 128
_NOTHING: Final[dict[str, Any]] = {}


class _Head(NamedTuple):
    model: str
    version: str
    form: Form
    texts: tuple[tuple[int, str, str], ...]
    """Of the inputs of BYTES: place, name, and how messages call it."""


_Split = tuple[bytes, bool, bool]
"""A head, whether an id stood before it was cut out, and whether parameters did."""


class Decoder:
    """Requests as calls; what it has learnt of heads is bounded, and forgotten all at once."""

    def __init__(self, models: LiveModels, ids: Uuids, most_heads: int = MOST_HEADS) -> None:
        self._models, self._ids, self._most_heads = models, ids, most_heads
        self._heads: dict[bytes, _Head] = {}

    def call_of(
        self, request: oip.ModelInferRequest, message: bytes, header: Callable[[str], str], traceparent: str = ""
    ) -> Call:
        """The same as `decoding.call_of`, with the same errors. `message` is what `request` was parsed from, `header` a
        value of the call's metadata, `traceparent` that of the call's span if it is recorded.
        """
        raws = list(request.raw_input_contents)
        split = _split(message, raws) if raws else None
        if split is not None and (known := self._heads.get(split[0])) is not None:
            call = self._known(request, raws, known, split, header, traceparent)
            if call is not None:
                return call
        live = self._models.get(request.model_name)
        metadata = [(ENTITY_METADATA, entity)] if (entity := header(ENTITY_METADATA)) else ()
        call = call_of(request, metadata, None if live is None else live.max_rows, traceparent)
        if split is not None and split[0] not in self._heads:
            self._learn(split[0])
        return call

    def _known(
        self,
        request: oip.ModelInferRequest,
        raws: list[bytes],
        head: _Head,
        split: _Split,
        header: Callable[[str], str],
        traceparent: str,
    ) -> Call | None:
        """None: something is unusual, or wrong."""
        began = perf_counter_ns()
        model, version, form, texts = head
        given = parameters.ours(request) if split[2] else _NOTHING
        live = self._models.get(model)
        if live is not None and live.max_rows is not None and form.rows > live.max_rows:
            return None
        if not _as_long(raws, form.sizes):
            return None
        request_id = request.id if split[1] else ""
        if "\0" in request_id:
            return None
        arrived_ns = time_ns()
        if given:
            own = given.get(PREDICTION_ID)
            uid = self._ids.new(arrived_ns) if own is None else parameters.prediction_id(own)
            entity = parameters.entity(given.get(ENTITY), [(ENTITY_METADATA, header(ENTITY_METADATA))])
            event_us = parameters.event_time(given.get(EVENT_TIME))
        else:
            uid, entity, event_us = self._ids.new(arrived_ns), header(ENTITY_METADATA), None
            if entity:
                entity = parameters.entity(entity, ())
        made = _read(form, raws, texts) if texts else None
        if texts and made is None:
            return None
        return Call(
            model, version, request_id, uid, entity, event_us, arrived_ns // 1000, Columns(form, raws, made),
            form.outputs, traceparent, perf_counter_ns() - began, form,
        )  # fmt: skip

    def _learn(self, head: bytes) -> None:
        """Keeps what a head says, if that is all: the request that it came from was understood."""
        if len(head) > LONGEST_HEAD:
            return
        try:
            alone = oip.ModelInferRequest.FromString(head)
        except DecodeError:  # what looked like raw contents was the end of another record
            return
        if alone.raw_input_contents or alone.id or alone.parameters:
            return
        tensors = [(tensor.name, tensor.datatype, tuple(tensor.shape)) for tensor in alone.inputs]
        form = Form(tensors, [output.name for output in alone.outputs])
        texts = tuple(
            (place, name, f"{alone.model_name}: input '{name}'")
            for place, (name, datatype, _) in enumerate(tensors)
            if datatype == "BYTES"
        )
        if len(self._heads) >= self._most_heads:
            self._heads.clear()
        self._heads[head] = _Head(alone.model_name, alone.model_version, form, texts)


def _as_long(raws: list[bytes], sizes: list[int]) -> bool:
    """Whether there are as many as the form says, each of its size."""
    if len(raws) == 1 == len(sizes):
        return sizes[0] in (-1, len(raws[0]))
    if len(raws) != len(sizes):
        return False
    return all([size in (-1, len(raw)) for raw, size in zip(raws, sizes, strict=True)])


def _read(form: Form, raws: list[bytes], texts: tuple[tuple[int, str, str], ...]) -> dict[str, Tensor] | None:
    """The tensors of text; None where one is not what its shape says."""
    made = {}
    for place, name, what in texts:
        try:
            made[name] = raw_tensor("BYTES", form.shapes[place], raws[place], what)
        except InvalidInput:
            return None
    return made


def _split(message: bytes, raws: list[bytes]) -> _Split | None:
    """The message without id, parameters and raw contents, where these stand in the usual places; else None.

    Both ends are walked record by record, and a head is known only after it was read by itself: so nothing that is
    left out can be anything else than it is taken for.
    """
    end = len(message)
    for raw in reversed(raws):
        begin = begins(_RAW, len(raw))
        end -= len(raw)
        if message[end - len(begin) : end] != begin:
            return None
        end -= len(begin)
    try:
        start = _past(message, 0) if message[0] == _MODEL else 0
        if message[start] == _VERSION:
            start = _past(message, start)
        after = after_id = _past(message, start) if message[start] == _ID else start
        while message[after] == _PARAMETER:
            after = _past(message, after)
    except IndexError:
        return None
    head = message[:start] + message[after:end] if after > start else message[:end]
    return head, after_id > start, after > after_id


def _past(message: bytes, at: int) -> int:
    """Behind the record at `at`. Raises IndexError for one that is long, or beyond the end."""
    size = message[at + 1]
    if size >= _ONE_BYTE:
        raise IndexError
    return at + 2 + size


@lru_cache(maxsize=65536)
def begins(tag: int, size: int) -> bytes:
    """Tag and length, with which a record of so many bytes begins."""
    begin, left = bytearray([tag]), size
    while left >= _ONE_BYTE:
        begin.append(left % _ONE_BYTE + _ONE_BYTE)
        left //= _ONE_BYTE
    begin.append(left)
    return bytes(begin)
