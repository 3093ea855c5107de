"""A run's folder and the steps that are done in it.

Each step leaves files, so that a later step finds them after a restart.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gyrostat_trainer.domain.episodes import Range
from gyrostat_trainer.domain.errors import JobFailed, PipelineUnknown, TooFewRows
from gyrostat_trainer.domain.runs import Champion, Gate, Progress, Run, Snapshot
from gyrostat_trainer.domain.spec import merged_parameters
from gyrostat_trainer.domain.split import split
from gyrostat_trainer.engine import digests, job, probe, rows
from gyrostat_trainer.engine.datasets import Datasets
from gyrostat_trainer.engine.job import Cost
from gyrostat_trainer.engine.order import Order

Tell = Callable[[Progress], None]
# Trainer's own keys among a spec's parameters; everything else goes to the pipeline.
REFIT = "refit"
TABULAR = "tabular"
SIGNATURE = "signature.json"
_BUILT_IN = Path(__file__).resolve().parent.parent / "pipelines"


@dataclass(frozen=True)
class Command:
    """A pipeline as it is started."""

    command: tuple[str, ...]
    folder: str = ""
    environment: tuple[tuple[str, str], ...] = ()
    lock_file: str = ""


@dataclass(frozen=True)
class Limits:
    """How long a job may take, and how many folders of ended runs stay."""

    job_timeout_s: float = 3600.0
    keep_run_folders: int = 20


class Workshop:
    """Does the work of the steps in `folder`/<run id>."""

    def __init__(
        self, folder: Path, archive_uri: str, datasets: Datasets, pipelines: Mapping[str, Command], limits: Limits
    ) -> None:
        self._folder = folder
        self._archive_uri = archive_uri
        self._datasets = datasets
        built_in = Command((sys.executable, "-m", "gyrostat_trainer.pipelines.tabular"))
        self._pipelines = {TABULAR: built_in, **pipelines}
        self._limits = limits

    def folder(self, run: Run) -> Path:
        """Where a run's files lie."""
        return self._folder / run.id

    def log(self, run: Run) -> Path:
        """What the run's jobs wrote."""
        return self.folder(run) / "job.log"

    def check(self, pipeline: str) -> None:
        """PipelineUnknown when there is no such pipeline."""
        if pipeline not in self._pipelines:
            raise PipelineUnknown(f"no pipeline {pipeline!r}; there are {', '.join(sorted(self._pipelines))}")

    async def provenance(self, run: Run) -> dict[str, str]:
        """Digests of code and environment, and the machine."""
        command = self._command(run)
        source = Path(command.folder) if command.folder else _BUILT_IN
        code = await asyncio.to_thread(digests.source_digest, source) if command.folder or self._built_in(run) else ""
        environment = await asyncio.to_thread(digests.environment_digest, command.command, command.lock_file)
        return {"code": code or "command:" + " ".join(command.command), "environment": environment, **digests.machine()}

    def _built_in(self, run: Run) -> bool:
        return self._command(run).command[-1].startswith("gyrostat_trainer.pipelines.")

    def _command(self, run: Run) -> Command:
        self.check(run.spec.pipeline)
        return self._pipelines[run.spec.pipeline]

    def clean(self, run: Run) -> None:
        """Kills what a killed trainer left running in this run's folder."""
        if self.folder(run).exists():
            job.end_left_over(self.folder(run))

    # Steps

    async def snapshot(self, run: Run, excluded: tuple[Range, ...], champion: Champion | None) -> Snapshot:
        """Takes the rows, cuts them in time, and writes what the jobs and the evaluation read.

        TooFewRows says how many.
        """
        return await asyncio.to_thread(self._snapshot, run, excluded, champion)

    def _snapshot(self, run: Run, excluded: tuple[Range, ...], champion: Champion | None) -> Snapshot:
        folder, spec = self.folder(run), run.spec
        folder.mkdir(parents=True, exist_ok=True)
        found = rows.find(
            rows.Wanted(
                predictions_uri=rows.table_at(self._archive_uri, "predictions", run.model),
                outcomes_uri=rows.table_at(self._archive_uri, "outcomes", run.model),
                dataset_uri=self._datasets.uri(spec.dataset) if spec.dataset else "",
                environment=run.environment,
                until_us=run.until_us,
                horizon_s=spec.horizon_s,
                excluded=excluded,
                private=spec.private,
            )
        )
        if found.rows.num_rows < spec.min_rows:
            raise TooFewRows(f"{found.rows.num_rows:,} labelled rows; the spec wants at least {spec.min_rows:,}")
        times = found.times_us
        cut = split(times, spec.holdout_share, spec.lag_s, champion.trained_until_us if champion else None)
        fit, proof = (found.rows.filter(pa.array(mask)) for mask in (cut.fit_mask(times), cut.proof_mask(times)))
        with (folder / "rows.arrow").open("wb") as sink:
            rows.write_canonical(found.rows, sink)
        job_columns = ["event_time", "label", "weight", *found.inputs]
        pq.write_table(fit.select(job_columns), folder / "fit.parquet", compression="lz4")
        pq.write_table(found.rows.select(job_columns), folder / "refit.parquet", compression="lz4")
        pq.write_table(probe.rows(proof, fit, found.inputs), folder / "probe.parquet", compression="lz4")
        about = {**asdict(cut), "answers": found.answers, "labelled": found.labelled, "inputs": list(found.inputs)}
        (folder / SIGNATURE).write_text(champion.signature_json if champion else "", encoding="utf-8")
        (folder / "split.json").write_text(json.dumps(about), encoding="utf-8")
        return Snapshot(
            tables=found.tables,
            filter=found.filter,
            sha256=found.sha256,
            rows=found.rows.num_rows,
            from_us=int(times[0]),
            to_us=int(times[-1]),
            frames=found.frames,
            excluded=tuple(_words(gap) for gap in excluded),
        )

    def refits(self, run: Run) -> bool:
        """Whether what is registered is fitted once more on all rows (see ADR 0053)."""
        return bool(self._parameters(run).get(REFIT, True))

    def parameters(self, run: Run) -> dict[str, Any]:
        """What the pipeline is told: the spec's parameters, then the request's, then the task where nobody said it."""
        given = {k: v for k, v in self._parameters(run).items() if k != REFIT}
        return (
            {"task": run.spec.task, "decision_threshold": run.spec.decision_threshold, **given}
            if self._built_in(run)
            else given
        )

    @staticmethod
    def _parameters(run: Run) -> dict[str, Any]:
        return merged_parameters(run.spec.parameters_json, run.parameters_json)

    async def fit(self, run: Run, purpose: str, stop: asyncio.Event, tell: Tell) -> Cost:
        """Runs the pipeline: `evaluate` on the rows before the cut, `refit` on all. Leaves `<purpose>/model.onnx`."""
        folder, command, spec = self.folder(run), self._command(run), run.spec
        output = folder / purpose
        shutil.rmtree(output, ignore_errors=True)
        output.mkdir(parents=True)
        progress = output / "progress.jsonl"
        environment = {
            **dict(command.environment),
            "GYROSTAT_DATASET": str(folder / ("fit.parquet" if purpose == "evaluate" else "refit.parquet")),
            "GYROSTAT_OUTPUT": str(output),
            "GYROSTAT_PARAMETERS": json.dumps(self.parameters(run), sort_keys=True),
            "GYROSTAT_RUN_ID": run.id,
            "GYROSTAT_PROGRESS": str(progress),
            "GYROSTAT_PURPOSE": purpose,
        }
        if signature := _signature(folder, spec.score_output):
            environment["GYROSTAT_SIGNATURE"] = signature
        if self.registered(run).parent == output:  # parity is proven of what is registered
            environment["GYROSTAT_PROBE"] = str(folder / "probe.parquet")
        where = Path(command.folder) if command.folder else folder
        order = job.Job(command.command, where, environment, self.log(run), self._limits.job_timeout_s, progress)
        cost = await job.run(order, stop, tell)
        if not (output / "model.onnx").is_file():
            raise JobFailed("the job ended well but left no model.onnx in its output folder")
        return cost

    async def evaluate(
        self, run: Run, champion: Path | None, stop: asyncio.Event, tell: Tell
    ) -> tuple[tuple[Gate, ...], dict[str, float], Cost]:
        """Gates, metrics and costs; leaves profile.json and report.json."""
        folder, spec = self.folder(run), run.spec
        cut = json.loads((folder / "split.json").read_text())
        last = self.registered(run).parent
        parity = last / "parity.parquet"
        order = Order(
            rows=str(folder / "rows.arrow"),
            fit_until_us=cut["fit_until_us"],
            proof_from_us=cut["proof_from_us"],
            unseen_by_champion=cut["unseen_by_champion"],
            evaluated=str(folder / "evaluate" / "model.onnx"),
            registered=str(self.registered(run)),
            parity=str(parity) if parity.exists() else "",
            champion=str(champion) if champion else "",
            task=spec.task,
            threshold=spec.decision_threshold,
            score_output=spec.score_output,
            slices=spec.slices,
            answers=cut["answers"],
            labelled=cut["labelled"],
        )
        path = folder / "order.json"
        path.write_text(json.dumps(asdict(order)), encoding="utf-8")
        command = (sys.executable, "-m", "gyrostat_trainer.engine.evaluation", str(path))
        cost = await job.run(job.Job(command, folder, {}, self.log(run), self._limits.job_timeout_s), stop, tell)
        found = json.loads((folder / "evaluation.json").read_text())
        measured = tuple(Gate(**gate) for gate in found["gates"])
        metrics = {f"importance.{name}": float(value) for name, value in found["importance"].items()}
        metrics |= {f"{gate.gate}.{name}": value for gate in measured for name, value in gate.numbers.items()}
        return measured, {**metrics, **_flat(last / "metrics.json")}, cost

    def registered(self, run: Run) -> Path:
        """The model that is registered."""
        return self.folder(run) / ("refit" if self.refits(run) else "evaluate") / "model.onnx"

    def profile(self, run: Run) -> Path:
        """The reference profile, made on held-out rows."""
        return self.folder(run) / "profile.json"

    def rows(self, run: Run) -> Path:
        """The snapshot's canonical bytes."""
        return self.folder(run) / "rows.arrow"

    def tidy(self, run: Run) -> None:
        """An ended run keeps its small files; only the newest folders stay."""
        folder = self.folder(run)
        for name in ("rows.arrow", "fit.parquet", "refit.parquet", "probe.parquet"):
            (folder / name).unlink(missing_ok=True)
        if self._folder.exists():
            oldest_first = sorted((p for p in self._folder.iterdir() if p.is_dir()), key=lambda p: p.stat().st_mtime)
            for path in oldest_first[: -self._limits.keep_run_folders]:
                shutil.rmtree(path, ignore_errors=True)

    async def newest_us(self, model: str) -> int | None:
        """Newest event time in the archive of a model, from the table's statistics; None when it has none."""
        return await asyncio.to_thread(self._newest_us, model)

    def _newest_us(self, model: str) -> int | None:
        table = rows.open_table(rows.table_at(self._archive_uri, "predictions", model))
        if table is None:
            return None
        actions = pa.table(table.get_add_actions(flatten=True))
        if "max.event_time" not in actions.column_names:
            return None
        newest = (
            actions.column("max.event_time")
            .cast(pa.timestamp("us", "UTC"))
            .cast(pa.int64())
            .to_numpy(zero_copy_only=False)
        )
        return int(np.nanmax(newest)) if len(newest) else None


def _signature(folder: Path, score_output: str) -> str:
    """What callers of the champion know, for the pipeline; empty where nobody calls yet."""
    text = (folder / SIGNATURE).read_text(encoding="utf-8") if (folder / SIGNATURE).exists() else ""
    return json.dumps({**json.loads(text), "score_output": score_output}, sort_keys=True) if text else ""


def _words(gap: Range) -> str:
    end = "now" if gap.end_us is None else np.datetime64(gap.end_us, "us")
    return f"{np.datetime64(gap.start_us, 'us')} to {end}: {gap.reason}"


def _flat(path: Path) -> dict[str, float]:
    """The numbers of a metrics.json, nested names joined by dots; what is not a number is passed over."""
    if not path.exists():
        return {}
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return {}
    flat: dict[str, float] = {}

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                walk(f"{prefix}.{name}" if prefix else str(name), inner)
        elif isinstance(value, int | float) and not isinstance(value, bool) and np.isfinite(value):
            flat[f"job.{prefix}"] = float(value)

    walk("", given)
    return dict(list(flat.items())[:1_000])
