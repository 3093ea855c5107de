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
    raws: tuple[tuple[bytes, int], ...]
    """How each of the raw contents begins in a message, and its size, where sizes do not depend on the values."""


class _Places(NamedTuple):
    """Where id, parameters and raw contents begin and end in a message: what is left is its head."""

    start: int
    after_id: int
    after: int
    end: int


class Decoder:
    """Requests as calls; what it has learnt of heads is bounded, and forgotten all at once."""

    def __init__(self, models: LiveModels, ids: Uuids, most_heads: int = MOST_HEADS) -> None:
        self._models, self._ids, self._most_heads = models, ids, most_heads
        self._heads: dict[bytes, _Head] = {}
        self._tails: dict[tuple[bytes, int], int] = {}
        """By what stands before the id and how long all is behind the parameters: how many bytes are raw contents."""

    def known(self, message: bytes, header: Callable[[str], str], traceparent: str = "") -> Call | None:
        """The same as `call_of`, without protobuf; None: only that can tell."""
        began = perf_counter_ns()
        ids = _ids(message)
        if ids is None:
            return None
        start, after_id, after = ids
        tail = self._tails.get((message[:start], len(message) - after))
        if tail is None:
            return None
        at = len(message) - tail
        head = self._heads.get(message[:start] + message[after:at])
        if head is None or at < after:
            return None
        raws = []
        for begin, size in head.raws:
            first = at + len(begin)
            if message[at:first] != begin:
                return None
            at = first + size
            raws.append(message[first:at])
        if at != len(message):
            return None
        try:
            request_id = message[start + 2 : after_id].decode() if after_id > start else ""
            request = oip.ModelInferRequest.FromString(message[after_id:after]) if after > after_id else None
        except (UnicodeDecodeError, DecodeError):
            return None
        return self._made(request, request_id, raws, head, header, traceparent, began)

    def call_of(
        self, request: oip.ModelInferRequest, message: bytes, header: Callable[[str], str], traceparent: str = ""
    ) -> Call:
        """The same as `decoding.call_of`, with the same errors. `message` is what `request` was parsed from, `header` a
        value of the call's metadata, `traceparent` that of the call's span if it is recorded.
        """
        began = perf_counter_ns()
        raws = list(request.raw_input_contents)
        places = _split(message, raws) if raws else None
        key = b"" if places is None else message[: places.start] + message[places.after : places.end]
        if places is not None and (head := self._heads.get(key)) is not None and _as_long(raws, head.form.sizes):
            if head.raws:
                self._find(message, places)
            given = request if places.after > places.after_id else None
            call = self._made(given, request.id, raws, head, header, traceparent, began)
            if call is not None:
                return call
        live = self._models.get(request.model_name)
        metadata = [(ENTITY_METADATA, entity)] if (entity := header(ENTITY_METADATA)) else ()
        call = call_of(request, metadata, None if live is None else live.max_rows, traceparent)
        if places is not None and key not in self._heads:
            self._learn(key)
            if key in self._heads and self._heads[key].raws:
                self._find(message, places)
        return call

    def _made(
        self,
        request: oip.ModelInferRequest | None,
        request_id: str,
        raws: list[bytes],
        head: _Head,
        header: Callable[[str], str],
        traceparent: str,
        began: int,
    ) -> Call | None:
        """`request` has the parameters, if there are any. None: something is unusual, or wrong."""
        model, version, form, texts, _ = head
        given = _NOTHING if request is None else parameters.ours(request)
        live = self._models.get(model)
        if live is not None and live.max_rows is not None and form.rows > live.max_rows:
            return None
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

    def _find(self, message: bytes, places: _Places) -> None:
        """Makes requests of this length known without protobuf."""
        if len(self._tails) >= self._most_heads:
            self._tails.clear()
        self._tails[message[: places.start], len(message) - places.after] = len(message) - places.end

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
        raws = () if texts else tuple((begins(_RAW, size), size) for size in form.sizes)
        self._heads[head] = _Head(alone.model_name, alone.model_version, form, texts, raws)


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


def _split(message: bytes, raws: list[bytes]) -> _Places | None:
    """Where the message has id, parameters and raw contents, if these stand in the usual places; else None.

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
    ids = _ids(message)
    return None if ids is None or ids[2] > end else _Places(*ids, end)


def _ids(message: bytes) -> tuple[int, int, int] | None:
    """Where the id begins, where it ends and parameters begin, and where those end; None where they are not short."""
    try:
        start = _past(message, 0) if message[0] == _MODEL else 0
        if message[start] == _VERSION:
            start = _past(message, start)
        after = after_id = _past(message, start) if message[start] == _ID else start
        while message[after] == _PARAMETER:
            after = _past(message, after)
    except IndexError:
        return None
    return start, after_id, after


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
