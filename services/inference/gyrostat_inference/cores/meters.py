"""Metrics of several processes as one: what only grows is added up, what goes up and down is the greatest."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client.core import Metric

from gyrostat_common.telemetry import metrics
from gyrostat_inference.cores.messages import Family

_OF_ONE_PROCESS = ("process_", "python_")
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def families() -> list[Family]:
    """What this process counts, less what is about the process itself."""
    found = []
    for family in metrics.REGISTRY.collect():
        if not family.name.startswith(_OF_ONE_PROCESS) and family.samples:
            samples = [(sample.name, dict(sample.labels), float(sample.value)) for sample in family.samples]
            found.append(Family(name=family.name, kind=family.type, text=family.documentation, samples=samples))
    return found


def merged(processes: Sequence[Iterable[Family]]) -> list[Family]:
    """One family per name."""
    known: dict[str, tuple[Family, Samples]] = {}
    for each in processes:
        for family in each:
            _, samples = known.setdefault(family.name, (family, {}))
            for name, labels, value in family.samples:
                key = (name, tuple(labels.items()))
                samples[key] = _joined(family.kind, name, samples[key], value) if key in samples else value
    return [
        Family(
            name=family.name,
            kind=family.kind,
            text=family.text,
            samples=[(name, dict(labels), value) for (name, labels), value in samples.items()],
        )
        for family, samples in known.values()
    ]


def _joined(kind: str, name: str, one: float, other: float) -> float:
    if name.endswith("_created"):
        return min(one, other)
    return max(one, other) if kind in ("gauge", "info") else one + other


def with_workers(workers: Callable[[], list[Family]]) -> Callable[[Iterable[Metric]], Iterator[Metric]]:
    """Adds the workers' families to those of this process; a sample that this process has too is its own to say where
    it goes up and down, and summed where it only grows.
    """

    def joined(own: Iterable[Metric]) -> Iterator[Metric]:
        theirs = {family.name: family for family in workers()}
        for metric in own:
            family = theirs.pop(metric.name, None)
            yield metric if family is None else _added(metric, family)
        for family in theirs.values():
            yield _added(Metric(family.name, family.text, family.kind), family)

    return joined


def _added(metric: Metric, family: Family) -> Metric:
    whole = Metric(metric.name, metric.documentation, metric.type)
    samples = {(s.name, tuple(sorted(s.labels.items()))): float(s.value) for s in metric.samples}
    for name, labels, value in family.samples:
        key = (name, tuple(sorted(labels.items())))
        if key not in samples:
            samples[key] = value
        elif family.kind not in ("gauge", "info"):
            samples[key] = _joined(family.kind, name, samples[key], value)
    for (name, pairs), value in samples.items():
        whole.add_sample(name, dict(pairs), value)
    return whole
