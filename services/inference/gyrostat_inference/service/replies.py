"""The usual reply as bytes: what answers of one form have in common is encoded once, ids and values are put in between.

Typed replies and those to unusual requests are built by `decoding.reply_of`; the proof that both say the same is a
property test. Used by the lane.
"""

from typing import Any, NamedTuple
from uuid import UUID

from gyrostat_common import oip
from gyrostat_inference.domain.calls import Answer, Call
from gyrostat_inference.service.decoding import reply_of
from gyrostat_inference.service.heads import begins

MOST_PREPARED = 4096
_ID, _RAW = 0x1A, 0x32  # tags of a ModelInferResponse's fields
# Stands for the prediction id while a reply is prepared; nothing else is called like this.
_MARK = UUID("6f1c0e5a-9d5b-7c3e-8a42-d1b5e27f4c90")


class _Prepared(NamedTuple):
    """A reply's bytes before and behind the text of its prediction id; then come its id and the raw contents."""

    before: bytes
    behind: bytes


class Replies:
    """Encodes answers; what it has prepared is bounded, and forgotten all at once."""

    def __init__(self, most_prepared: int = MOST_PREPARED) -> None:
        self._most = most_prepared
        self._prepared: dict[tuple[Any, ...], _Prepared] = {}

    def encoded(self, request: oip.ModelInferRequest | None, call: Call, answer: Answer) -> bytes:
        """The message that `decoding.reply_of` makes, with its records perhaps in another order. Of a call that has a
        form the request is not needed: it was raw.
        """
        form = call.form
        if form is None:
            assert request is not None
            return reply_of(request, call, answer).SerializeToString()
        version, variant, revision, outputs = answer
        key = (form, version, variant, revision, *[output.shape for output in outputs])
        prepared = self._prepared.get(key)
        if prepared is None:
            prepared = self._prepare(key, call, answer)
        uid = call.prediction_id.hex()
        text = f"{uid[:8]}-{uid[8:12]}-{uid[12:16]}-{uid[16:20]}-{uid[20:]}".encode()
        parts = [prepared.before, text, prepared.behind]
        if call.request_id:
            request_id = call.request_id.encode()
            parts += (begins(_ID, len(request_id)), request_id)
        for output in outputs:
            raw = output.raw
            parts += (begins(_RAW, len(raw)), raw)
        return b"".join(parts)

    def _prepare(self, key: tuple[Any, ...], call: Call, answer: Answer) -> _Prepared:
        raw = oip.ModelInferRequest()
        reply = reply_of(raw, call._replace(request_id="", prediction_id=_MARK.bytes), answer)
        del reply.raw_output_contents[:]
        before, _, behind = reply.SerializeToString().partition(str(_MARK).encode())
        if len(self._prepared) >= self._most:
            self._prepared.clear()
        prepared = self._prepared[key] = _Prepared(before, behind)
        return prepared
