"""What a replica serves at this moment: loaded versions under a plan. One reference to it is swapped, never changed.

A request holds the LiveModel that it began with; the versions that only an old one names go when the last request that
holds it is through.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy.typing as npt

from gyrostat_inference.domain import routing
from gyrostat_inference.domain.admission import Pace
from gyrostat_inference.domain.batching import NOT_TRIED, has_open_shapes
from gyrostat_inference.domain.calls import Call
from gyrostat_inference.domain.counters import Counters
from gyrostat_inference.domain.entries import ColumnSpec, Group
from gyrostat_inference.domain.errors import ModelUnknown, VersionNotLoaded
from gyrostat_inference.domain.plan import Plan, PlannedVersion, Signature
from gyrostat_inference.domain.routing import Attempt
from gyrostat_inference.domain.sensitivity import Keeping
from gyrostat_inference.domain.tensors import Form, chosen_outputs, rows_of

MOST_GROUPS = 1024
MOST_FITS = 8192


class Scorer(Protocol):
    """A graph that is open and warm."""

    signature: Signature
    facts: dict[str, str]
    """How it was opened, for its metadata."""

    def run(
        self,
        inputs: Mapping[str, npt.NDArray[Any]],
        within_s: float | None = None,
        gone: Callable[[], bool] | None = None,
    ) -> Sequence[npt.NDArray[Any]]:
        """All outputs, in the graph's order. Raises ScoringFailed when the graph refuses the values, RunTooLong when it
        was stopped: after `within_s` (None: the longest run of the settings), or when `gone` says that nobody waits.
        """
        ...


@dataclass(frozen=True, eq=False, slots=True)
class LoadedVersion:
    """A version that can answer."""

    model: str
    planned: PlannedVersion
    scorer: Scorer
    keeping: Keeping
    alone: str = NOT_TRIED
    """Why rows of several requests must not run together; "": they may."""
    counters: Counters = field(default_factory=Counters)
    pace: Pace = field(default_factory=Pace)
    groups: dict[tuple[Any, ...], Group] = field(default_factory=dict)

    open_shapes: bool = field(init=False)
    """Whether rows of two requests may differ in shape."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "open_shapes", has_open_shapes(self.scorer.signature))

    @property
    def number(self) -> int:
        return self.planned.number

    @property
    def signature(self) -> Signature:
        return self.scorer.signature

    @property
    def name(self) -> str:
        return f"{self.model}:{self.planned.number}"

    def group(
        self, plan: Plan, role: int, variant: str, shapes: tuple[tuple[int, ...], ...], outputs: tuple[ColumnSpec, ...]
    ) -> Group:
        """What rows of this version have in common; `shapes` are one row's, by input."""
        key = (plan.environment, plan.revision, role, variant, shapes, outputs)
        found = self.groups.get(key)
        if found is None:
            if len(self.groups) >= MOST_GROUPS:
                self.groups.clear()  # callers who vary a dynamic dimension must not fill the memory
            columns = map(self.keeping.column, self.signature.inputs, shapes)
            found = self.groups[key] = Group(
                plan.environment,
                plan.model,
                self.number,
                role,
                variant,
                plan.revision,
                plan.rollout_id,
                tuple(column for column in columns if column is not None),
                outputs,
            )
        return found


class Fit(NamedTuple):
    """A request that fits a version: its rows, and the places of the outputs that were asked for."""

    rows: int
    chosen: Sequence[int]


@dataclass(frozen=True, eq=False, slots=True)
class LiveModel:
    """A plan in force, the versions of it that are loaded, and why others are not.

    Beside them what was found out under this plan and holds for every request alike: it goes with the plan.
    """

    plan: Plan
    loaded: Mapping[int, LoadedVersion]
    failed: Mapping[int, str] = field(default_factory=dict)
    known_inputs: frozenset[str] = frozenset()
    max_rows: int | None = None
    """The most rows of a request, told from its declared shapes; None where they do not tell."""
    sole: Sequence[Attempt] = ()
    """Who answers every call that names no version; empty where that depends on the call, or nobody does."""
    fits: dict[tuple[int, Form], Fit] = field(default_factory=dict)
    prepared: dict[tuple[Any, ...], Any] = field(default_factory=dict)
    """What use cases prepared for calls of one form; they bound it by MOST_FITS."""

    @property
    def ready(self) -> bool:
        """Whether the champion answers; a retired model asks for nothing."""
        return self.plan.champion is None or self.plan.champion.number in self.loaded

    def attempts(self, call: Call) -> Sequence[Attempt]:
        """Who may answer the call, best first. Raises ModelUnknown, VersionNotServed, VersionNotLoaded."""
        if self.sole and not call.version:
            return self.sole
        return routing.attempts(self.plan, self.loaded, call.version, self._key(call))

    def _key(self, call: Call) -> str:
        """The entity that all rows have in the input which the spec names, else the request's, else the prediction id:
        what keeps an entity with one version during a roll-out.
        """
        tensor = call.tensors.get(self.plan.spec.entity_input)
        if tensor is not None and tensor.values.size:
            values = tensor.values.ravel()
            if values.size == 1 or bool((values == values[0]).all()):
                return str(values.tolist()[0])
        return call.entity or call.prediction_id.hex()

    def fit(self, number: int, call: Call) -> Fit:
        """Of a loaded version. Raises WrongTensor, EmptyBatch, TooManyRows."""
        form = call.form
        if form is not None and (found := self.fits.get((number, form))) is not None:
            return found
        version = self.loaded[number]
        rows = rows_of(version.name, version.signature, call.tensors, self.known_inputs, self.plan.spec.max_rows)
        fit = Fit(rows, chosen_outputs(version.name, version.signature, call.outputs))
        if form is not None:
            if len(self.fits) >= MOST_FITS:
                self.fits.clear()
            self.fits[number, form] = fit
        return fit


def live_model(plan: Plan, loaded: Mapping[int, LoadedVersion], failed: Mapping[int, str]) -> LiveModel:
    specs = [spec for version in loaded.values() for spec in version.signature.inputs]
    return LiveModel(
        plan,
        dict(loaded),
        dict(failed),
        frozenset(spec.name for spec in specs),
        plan.spec.max_rows if all(spec.batched for spec in specs) else None,
        _sole(plan, loaded),
    )


def _sole(plan: Plan, loaded: Mapping[int, LoadedVersion]) -> Sequence[Attempt]:
    if plan.champion is None or plan.canary is not None:
        return ()
    try:
        return tuple(routing.attempts(plan, loaded, "", ""))
    except VersionNotLoaded:
        return ()


@dataclass(frozen=True, slots=True)
class Applied:
    """One version as the replica reports it."""

    model: str
    version: int
    revision: int
    loaded: bool
    reason: str = ""


class LiveModels:
    """All models of the replica, by name; the newest plan of each that could not be put in force yet, too."""

    def __init__(self) -> None:
        self._live: dict[str, LiveModel] = {}
        self._held_up: dict[str, tuple[Plan, dict[int, str]]] = {}
        self._loading: list[Applied] = []

    def get(self, model: str) -> LiveModel | None:
        return self._live.get(model)

    def models(self) -> list[LiveModel]:
        return list(self._live.values())

    def unknown(self, model: str) -> ModelUnknown | VersionNotLoaded:
        """Why `get` has nothing: no plan names the model, or its first version is still on its way."""
        for row in (*self._loading, *self.applied()):
            if row.model == model:
                return VersionNotLoaded(f"{model}:{row.version} is not loaded: {row.reason}")
        served = ", ".join(sorted(self._live)) or "none"
        return ModelUnknown(f"no model is named '{model}'; served: {served}")

    def swap(self, live: LiveModel) -> None:
        """Puts a plan in force: requests from now on see it, those in flight keep the old one."""
        self._live[live.plan.model] = live
        self._held_up.pop(live.plan.model, None)

    def hold_up(self, plan: Plan, failed: Mapping[int, str]) -> None:
        """The old plan stays in force, because the new one's champion cannot be loaded."""
        self._held_up[plan.model] = (plan, dict(failed))

    @contextmanager
    def being_loaded(self, plan: Plan, number: int) -> Iterator[None]:
        """Says so while the block runs."""
        row = Applied(
            plan.model, number, plan.revision, False, f"being loaded for revision {plan.revision} of the plan"
        )
        self._loading.append(row)
        try:
            yield
        finally:
            self._loading.remove(row)

    def loading(self) -> list[Applied]:
        """Versions that are being loaded at this moment."""
        return list(self._loading)

    def answering(self) -> dict[str, bool]:
        """Whether each model answers: one that is retired, or whose first champion is not loaded yet, does not."""
        waiting = [row.model for row in self._loading] + list(self._held_up)
        live = {model: each.ready and each.plan.champion is not None for model, each in self._live.items()}
        return dict.fromkeys(waiting, False) | live

    def missing(self, model: str) -> str | None:
        """What the model's plans ask for and is not loaded, in words; None when it has everything."""
        words = (
            f"{row.model}:{row.version} is not loaded: {row.reason}"
            for row in self.applied()
            if not row.loaded and row.model == model
        )
        return "; ".join(words) or None

    def revisions(self) -> dict[str, int]:
        """Model → revision that is served."""
        return {model: live.plan.revision for model, live in self._live.items()}

    def not_ready(self) -> str | None:
        """The first champion that does not answer, and why; None when all do."""
        for live in self._live.values():
            champion = live.plan.champion
            if champion is not None and not live.ready:
                why = live.failed.get(champion.number, "not loaded yet")
                return f"{live.plan.model}:{champion.number} (champion) is not loaded: {why}"
        for plan, failed in self._held_up.values():
            if plan.model not in self._live and plan.champion is not None:
                return f"{plan.model}:{plan.champion.number} is not loaded: {failed.get(plan.champion.number, '?')}"
        return None

    def problem(self) -> str | None:
        """What the plans ask for and the replica does not have, though it answers; None when it has everything."""
        missing = [row for row in self.applied() if not row.loaded]
        words = (f"{row.model}:{row.version} of plan revision {row.revision}: {row.reason}" for row in missing)
        return f"not loaded: {'; '.join(words)}" if missing else None

    def applied(self) -> list[Applied]:
        """Every version of every plan, loaded or not."""
        rows = []
        for model, live in self._live.items():
            for number in live.plan.versions():
                loaded = number in live.loaded
                reason = "" if loaded else live.failed.get(number, "not loaded yet")
                rows.append(Applied(model, number, live.plan.revision, loaded, reason))
        for plan, failed in self._held_up.values():
            rows += [Applied(plan.model, number, plan.revision, False, reason) for number, reason in failed.items()]
        return rows
