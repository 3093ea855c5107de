"""What can go wrong, in the registry's own words. Each is one of the six kinds that common maps to a status."""

from gyrostat_common.errors import AlreadyExists, InvalidInput, NotFound, WrongState


class BadName(InvalidInput):
    """A name, alias or reference that breaks the rules of naming."""


class BadSpec(InvalidInput):
    """A ModelSpec whose values cannot be meant."""


class BadPageToken(InvalidInput):
    """A page token that this registry did not give out."""


class BadArtifact(InvalidInput):
    """A file that is not what it was said to be: no ONNX, truncated, wrong digest, too large."""


class SignatureMismatch(InvalidInput):
    """The graph's inputs or outputs differ from what was declared."""


class BadRun(InvalidInput):
    """A run with a status or a number of values that is not allowed."""


class PlanTooLarge(InvalidInput):
    """A plan that would not fit into one record of the log."""


class ReasonMissing(InvalidInput):
    """A change that needs a reason came without one."""


class ModelNotFound(NotFound):
    """No model of that name."""


class VersionNotFound(NotFound):
    """No such version or alias."""


class EnvironmentNotFound(NotFound):
    """No such environment."""


class RunNotFound(NotFound):
    """No such run."""


class ArtifactNotFound(NotFound):
    """Nothing was uploaded under that digest."""


class RolloutNotFound(NotFound):
    """No such roll-out."""


class PlanNotFound(NotFound):
    """The model has never been live in that environment, or not yet at that time."""


class KeyNotInTopic(NotFound):
    """Nothing lies in serving.plan under this key, and no plan of ours has it."""


class AliasNotFound(NotFound):
    """No such alias."""


class ModelExists(AlreadyExists):
    """A model of that name is there already."""


class EnvironmentExists(AlreadyExists):
    """An environment of that name is there already."""


class RunExists(AlreadyExists):
    """A run of that id is there already."""


class RevisionMismatch(WrongState):
    """The caller saw another revision than the one in force."""


class VersionArchived(WrongState):
    """An archived version cannot go live."""


class VersionRejected(WrongState):
    """A version that a gate refused goes live only by force and with a reason."""


class VersionInUse(WrongState):
    """The version is in a plan or in a roll-out that is not over."""


class AlreadyChampion(WrongState):
    """The version answers already."""


class NoChampion(WrongState):
    """The model has no champion, so there is nothing to shadow, roll back or retire."""


class NothingToGoBackTo(WrongState):
    """No open roll-out and no previous champion."""


class IllegalMove(WrongState):
    """The roll-out cannot take that step from where it stands."""


class AutopilotOff(WrongState):
    """Autopilot is off: nothing starts."""


class RunOver(WrongState):
    """A run that ended does not start again."""
