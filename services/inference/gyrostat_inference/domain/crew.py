"""Several processes that answer as one replica: who gets a connection, which plan is in force, who hangs, what they
counted together. Pure; `cores` talks to the workers, `supervisor` acts.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from gyrostat_inference.domain.counters import Counters, Spent
from gyrostat_inference.domain.live import Applied, LiveModels

FIRST_RESTART_S, LONGEST_RESTART_S, STEADY_S = 0.2, 30.0, 30.0
"""A worker that lived for STEADY_S is started again after FIRST_RESTART_S; one that keeps ending waits longer."""


@dataclass(frozen=True, slots=True)
class Load:
    """What a worker has to do: its own word, and the connections that it was given since."""

    streams: int = 0
    connections: int = 0
    given: int = 0
    """Connections handed over that its word does not count yet."""

    @property
    def weight(self) -> int:
        """Open streams; an open connection counts as one at least, since it is there to carry some."""
        return max(self.streams, self.connections) + self.given


def least_loaded(loads: Mapping[int, Load]) -> list[int]:
    """Workers by number, the one that should get the next connection first: fewest open streams, then connections."""
    return sorted(loads, key=lambda n: (loads[n].weight, loads[n].connections + loads[n].given, n))


@dataclass(frozen=True, slots=True)
class ModelState:
    """One model in one process."""

    model: str
    revision: int
    """That it serves; 0: none."""
    tried: int
    """The newest that it has worked on, whatever came of it."""
    ready: bool
    """Whether the champion answers there; a retired model asks for nothing."""
    versions: tuple[Applied, ...] = ()
    """Every version of the plan served, and of one that is held up."""


States = Mapping[str, ModelState]


def states_of(models: LiveModels, tried: Mapping[str, int]) -> dict[str, ModelState]:
    """Every model that was worked on, as this process serves it."""
    versions: dict[str, list[Applied]] = {}
    for row in models.applied():
        versions.setdefault(row.model, []).append(row)
    found = {}
    for model, revision in tried.items():
        live = models.get(model)
        served = live.plan.revision if live is not None else 0
        ready = live is not None and live.ready
        found[model] = ModelState(model, served, revision, ready, tuple(versions.get(model, ())))
    return found


@dataclass(frozen=True, slots=True)
class Handed:
    """Revisions of one model: the last that the whole replica served, and the newest there is."""

    in_force: int = 0
    newest: int = 0


def next_revision(handed: Handed, given: int, state: ModelState | None) -> int | None:
    """Which revision a worker is to be given now; None: it has what it should.

    A new worker first gets what the others serve, and the newest one only when it has worked on that: if the newest
    cannot be put in force, it answers by the old one as the others do.
    """
    tried = state.tried if state is not None else 0
    if handed.in_force and given < handed.in_force:
        return handed.in_force
    if tried >= handed.in_force and given < handed.newest:
        return handed.newest
    return None


def joined(handed: Mapping[str, Handed], states: States) -> bool:
    """Whether a worker has caught up with the others: it has worked on every plan that is in force."""
    return all(
        one.in_force == 0 or (model in states and states[model].tried >= one.in_force) for model, one in handed.items()
    )


def served_by_all(states: Sequence[States]) -> dict[str, int]:
    """Model → the revision that every worker serves or has passed: the oldest of theirs. No workers serve nothing."""
    if not states:
        return {}
    everywhere = set.intersection(*(set(each) for each in states))
    oldest = {model: min(each[model].revision for each in states) for model in everywhere}
    return {model: revision for model, revision in sorted(oldest.items()) if revision}


def applied_by_all(workers: Mapping[int, States]) -> list[Applied]:
    """Every version as the replica reports it: of the revision that all serve, and what any of them could not load.

    A newer plan that some have in force and others still load is not told yet, as it is not while one process loads it.
    """
    oldest = served_by_all(list(workers.values()))
    found: dict[tuple[str, int, int], Applied] = {}
    for number in sorted(workers):
        for row in (row for state in workers[number].values() for row in state.versions):
            key = (row.model, row.revision, row.version)
            if not row.loaded:
                told = replace(row, reason=f"worker {number}: {row.reason}")
                if key not in found or found[key].loaded:
                    found[key] = told
            elif row.revision == oldest.get(row.model):
                found.setdefault(key, row)
    return [found[key] for key in sorted(found)]


def hung(heard_s_ago: float, looked_s_ago: float, limit_s: float) -> bool:
    """Whether a worker hangs: nothing was heard for the limit, though we were there to hear it.

    A busy worker still says so several times a second. When we did not look ourselves for a while (a machine that
    slept), what it said meanwhile is not read yet.
    """
    return heard_s_ago > limit_s and looked_s_ago < limit_s / 2


def restart_after_s(lives_s: Sequence[float]) -> float:
    """How long to wait before a worker is started again; `lives_s` are the lengths of its lives, the last one last."""
    short = 0
    for life in reversed(lives_s):
        if life >= STEADY_S:
            break
        short += 1
    return float(min(FIRST_RESTART_S * 2 ** max(short - 1, 0), LONGEST_RESTART_S))


def total(parts: Iterable[Counters]) -> Counters:
    """Counters of one version in several processes, as one. Numbers are summed, moments are the last one's."""
    whole = Counters()
    for part in parts:
        for field in fields(Counters):
            mine, theirs = getattr(whole, field.name), getattr(part, field.name)
            setattr(whole, field.name, _summed(field.name, mine, theirs))
    return whole


def _summed(name: str, mine: Any, theirs: Any) -> Any:
    if isinstance(mine, Spent):
        return Spent(mine.count + theirs.count, mine.ns + theirs.ns)
    if isinstance(mine, dict):
        return {key: _summed("", mine.get(key, Spent()), theirs.get(key, Spent())) for key in {**mine, **theirs}}
    if isinstance(mine, bool):
        return mine or theirs
    return max(mine, theirs) if name.startswith("last_") else mine + theirs
