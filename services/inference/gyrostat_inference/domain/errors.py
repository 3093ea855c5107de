"""What can go wrong, in the words of inference."""

from gyrostat_common.errors import InvalidInput, NotFound, Overloaded, Unavailable, WrongState


class ModelUnknown(NotFound):
    """No plan names the model."""


class VersionNotServed(NotFound):
    """The plan does not hold the version that was asked for."""


class VersionNotLoaded(Unavailable):
    """The plan holds the version, and it could not be loaded (yet)."""


class WrongTensor(InvalidInput):
    """A tensor's name, datatype or shape is not what the version's graph declares."""


class TooManyRows(InvalidInput):
    """More rows than the model's settings allow in one request."""


class EmptyBatch(InvalidInput):
    """A request without rows."""


class UnknownParameter(InvalidInput):
    """A gyrostat_* parameter that does not exist, or any parameter of a requested output."""


class WrongParameter(InvalidInput):
    """A known gyrostat_* parameter with a value that it cannot have."""


class NotARequest(InvalidInput):
    """The body of a REST request is not what the protocol has there: no JSON, a part of another kind, wrong sizes."""


class ScoringFailed(InvalidInput):
    """The graph refused these inputs, in every version that might have answered."""


class RunTooLong(ScoringFailed):
    """The graph did not come to an end with these inputs in the time that a run may take."""


class AnswerTooLarge(ScoringFailed):
    """The graph answers more than a reply may hold."""


class SpoolFull(Overloaded):
    """The spool has no room, and the setting says to refuse."""


class QueueFull(Overloaded):
    """So much waits for a run already that nothing more is taken in."""


class TooLate(Overloaded):
    """What waits already makes the answer too late for the call's deadline."""


class PlanDecides(WrongState):
    """Loading and unloading is the plan's, not the caller's."""


class ModelRefused(Exception):
    """An artifact that must not be opened: not ONNX, other tensors than registered, a crash in its trial run."""
