"""True counters of one version, for statistics and metrics; plain numbers, so that counting costs next to nothing."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Spent:
    """How often, and nanoseconds altogether."""

    count: int = 0
    ns: int = 0

    def add(self, ns: int) -> None:
        self.count += 1
        self.ns += ns


@dataclass(slots=True)
class Counters:
    """Since the version was loaded. Inferences are rows, executions are runs of the graph, shadows included."""

    success: Spent = field(default_factory=Spent)
    fail: Spent = field(default_factory=Spent)
    queue: Spent = field(default_factory=Spent)
    compute_input: Spent = field(default_factory=Spent)
    compute_infer: Spent = field(default_factory=Spent)
    compute_output: Spent = field(default_factory=Spent)
    batches: dict[int, Spent] = field(default_factory=dict)
    inferences: int = 0
    executions: int = 0
    pinned: int = 0
    last_inference_ms: int = 0
    slow: bool = False
    """A small request held everybody up: its runs are off the event loop until enough of them were short."""
    mixes: bool = False
    """Rows of several requests did not come back row by row: requests are run alone from then on."""

    def ran(self, rows: int, ns: int) -> None:
        """One run of the graph."""
        self.inferences += rows
        self.executions += 1
        self.compute_infer.add(ns)
        batch = self.batches.get(rows)
        if batch is None:
            batch = self.batches[rows] = Spent()
        batch.add(ns)
