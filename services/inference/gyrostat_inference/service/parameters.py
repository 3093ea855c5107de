"""What a request says beside its tensors: our own parameters, names, and those of Triton's that are not served.

Nothing is ignored that would change the answer: a caller who asks for two classes must not get ten probabilities.
"""

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from gyrostat_common import oip
from gyrostat_common.errors import InvalidInput
from gyrostat_common.ids import uuid7
from gyrostat_common.times import parse_rfc3339, to_us
from gyrostat_inference.domain.calls import NAME_BYTES
from gyrostat_inference.domain.errors import UnknownParameter, WrongParameter

PREDICTION_ID, ENTITY, EVENT_TIME = "gyrostat_prediction_id", "gyrostat_entity", "gyrostat_event_time"
VARIANT, REVISION = "gyrostat_variant", "gyrostat_revision"
_OURS, _KNOWN = "gyrostat_", (PREDICTION_ID, ENTITY, EVENT_TIME)
ENTITY_METADATA = "gyrostat-entity"
_ALONE = "every request stands alone"
# Triton's parameters of a request that ask for something; 0, "" and false ask for nothing.
_NOT_SERVED = {
    "sequence_id": _ALONE,
    "sequence_start": _ALONE,
    "sequence_end": _ALONE,
    "priority": "nothing queues here",
    "timeout": "set the call's deadline",
    "binary_data_output": "outputs come raw when inputs do",
    "triton_enable_empty_final_response": "a stream has one reply per request",
}
_SHARED_MEMORY = "shared_memory_"


def ours(request: oip.ModelInferRequest) -> Mapping[str, Any]:
    """The gyrostat_ parameters. Raises UnknownParameter, WrongParameter, also for what Triton has and we do not."""
    found = {}
    for name, value in request.parameters.items():
        if name in _NOT_SERVED and oip.parameter_value(value):
            raise UnknownParameter(f"parameter '{name}' is not served: {_NOT_SERVED[name]}")
        if name.startswith(_OURS):
            found[name] = _ours(name, value)
    for output in request.outputs:
        for name in output.parameters:
            raise UnknownParameter(f"parameter '{name}' of output '{output.name}' is not served; outputs take none")
    for tensor in request.inputs:
        for name in tensor.parameters:
            if name.startswith(_SHARED_MEMORY):
                raise UnknownParameter(f"parameter '{name}' of input '{tensor.name}' is not served: send the values")
    return found


def _ours(name: str, value: oip.InferParameter) -> Any:
    if name not in _KNOWN:
        raise UnknownParameter(f"parameter '{name}' is not known; known: {', '.join(_KNOWN)}")
    given = oip.parameter_value(value)
    if given is None:
        raise WrongParameter(f"{name} has no value")
    return given


def request_id(request: oip.ModelInferRequest) -> str:
    """The caller's own name of the call. Raises WrongParameter."""
    return _name("id", request.id)


def prediction_id(given: Any) -> bytes:
    """Sixteen bytes; a new id where none is given. Raises WrongParameter."""
    if given is None:
        return uuid7().bytes
    try:
        return uuid.UUID(given if isinstance(given, str) else "").bytes
    except ValueError:
        raise WrongParameter(f"{PREDICTION_ID} is a UUID as text, not {_short(given)}") from None


def entity(given: Any, metadata: Iterable[tuple[str, Any]]) -> str:
    """The parameter, else the metadata; whole numbers are taken as text. Raises WrongParameter."""
    if given is None:
        given = next((value for key, value in metadata if key == ENTITY_METADATA), "")
    if isinstance(given, bool | float):
        raise WrongParameter(f"{ENTITY} is a text, not a {type(given).__name__}")  # it may be a secret
    return _name(ENTITY, str(given))


def event_time(given: Any) -> int | None:
    """Microseconds since 1970; None where none is given. Raises WrongParameter."""
    if given is None:
        return None
    if isinstance(given, str):
        try:
            given = to_us(parse_rfc3339(given))
        except InvalidInput as error:
            raise WrongParameter(f"{EVENT_TIME}: {error}") from error
    if isinstance(given, int) and not isinstance(given, bool) and given < 2**62:
        if given < 0:
            raise WrongParameter(f"{EVENT_TIME} is before 1970-01-01, which is taken for a mistake")
        return given
    raise WrongParameter(f"{EVENT_TIME} is an RFC 3339 text or int64 microseconds since 1970, not {_short(given)}")


def _name(what: str, text: str) -> str:
    """A name goes with every row into the log and is looked up in databases."""
    if len(text) > NAME_BYTES or len(text.encode()) > NAME_BYTES:
        raise WrongParameter(f"{what} has {len(text.encode()):,} bytes; at most {NAME_BYTES:,} are kept with each row")
    if "\0" in text:
        raise WrongParameter(f"{what} holds a NUL character")
    return text


def _short(given: Any) -> str:
    return repr(given)[:80]
