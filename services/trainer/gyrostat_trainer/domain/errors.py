"""What can go wrong, in the trainer's own words."""

from gyrostat_common.errors import InvalidInput, NotFound, Unavailable, WrongState


class ModelUnknown(NotFound):
    """No model of that name is known to the registry."""


class RunUnknown(NotFound):
    """No run has that id."""


class PipelineUnknown(InvalidInput):
    """The spec names a pipeline that the trainer's settings do not have."""


class ParametersInvalid(InvalidInput):
    """The parameters are not a JSON object."""


class DatasetInvalid(InvalidInput):
    """The file sent is not a dataset: digest, format or columns are wrong."""


class RunOver(WrongState):
    """The run has ended; it cannot be cancelled any more."""


class TooFewRows(WrongState):
    """There are not enough labelled rows to train on."""


class NothingToLearnFrom(WrongState):
    """The archive does not hold the values that the model is asked with, and there is no dataset that does."""


class JobFailed(WrongState):
    """The job's command ended with an error, ran out of time, or left no model."""


class NotInRows(JobFailed):
    """A model needs inputs that no row of a table has."""


class RunCancelled(WrongState):
    """Somebody asked for the run to stop."""


class PlansNotRead(Unavailable):
    """The serving plans have not been read yet, so the policy of a model is not known."""


class Closing(Unavailable):
    """The process is ending in an orderly way."""


class RegistryAway(Unavailable):
    """The registry did not answer; what was asked will be asked again."""
