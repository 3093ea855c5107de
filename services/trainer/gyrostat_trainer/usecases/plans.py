"""Who serves and by which policy, as the serving plans say: read from the log, kept in memory."""

from __future__ import annotations

from collections.abc import Callable

from gyrostat_trainer.domain.errors import PlansNotRead
from gyrostat_trainer.domain.runs import ServingFacts


class Plans:
    """The newest plan of each model and environment. Filled by the events room."""

    def __init__(self) -> None:
        self._plans: dict[tuple[str, str], ServingFacts] = {}
        self._read: Callable[[], bool] = lambda: False

    def begin(self, read: Callable[[], bool]) -> None:
        """`read` says whether everything that lay in the topic at the start has been heard."""
        self._read = read

    def heard(self, plan: ServingFacts) -> None:
        """A plan came."""
        self._plans[plan.environment, plan.model] = plan

    def of(self, model: str, environment: str) -> ServingFacts | None:
        """None: the model was never live there. PlansNotRead while nobody can know."""
        found = self._plans.get((environment, model))
        if found is None and not self._read():
            raise PlansNotRead("the serving plans have not been read to their end yet")
        return found
