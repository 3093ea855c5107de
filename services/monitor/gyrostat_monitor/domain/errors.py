"""What can be wrong, in the monitor's words."""

from gyrostat_common.errors import InvalidInput, NotFound, Unavailable


class OutcomeInvalid(InvalidInput):
    """An outcome that no prediction could have."""


class FrameInvalid(InvalidInput):
    """A prediction.logged record whose columns do not fit its row count."""


class EpisodeUnknown(NotFound):
    """No episode has this id."""


class PredictionUnknown(NotFound):
    """The archive holds no prediction of this id."""


class PageTokenInvalid(InvalidInput):
    """A page token that no reply of ours carried."""


class PlanBehind(Unavailable):
    """Rows of a version that no plan has named yet: the plan is on its way."""
