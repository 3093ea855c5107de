"""Proves a candidate, in a process of its own: `python -m gyrostat_trainer.engine.evaluation <order.json>`.

A model is somebody's file; it is opened here and not in the service. Reads the order, the held-out rows and the
models, writes `evaluation.json` (gates, metrics, importance) and `profile.json` beside the order. Next: the worker
uploads and registers.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gyrostat_common.errors import GyrostatError
from gyrostat_common.profile import build_profile, losses
from gyrostat_trainer.domain import gates
from gyrostat_trainer.domain.errors import JobFailed, NotInRows
from gyrostat_trainer.domain.losses import hard_labels
from gyrostat_trainer.domain.runs import Gate
from gyrostat_trainer.domain.split import Split
from gyrostat_trainer.engine import rows as row_source
from gyrostat_trainer.engine.order import Order
from gyrostat_trainer.engine.rows import text_columns
from gyrostat_trainer.engine.scoring import Scorer

PERMUTATION_ROWS = 2_000
LATENCY_ROUNDS = 80
LATENCY_ROWS = 16
# Nobody feels less than this: a champion that is quicker counts as this slow when a candidate is compared with it.
FELT_S = 500e-6


def evaluate(order: Order, out: Path) -> None:
    """Measures every gate and builds the reference profile."""
    table = row_source.read_canonical(Path(order.rows))
    times = row_source.times_us(table)
    cut = Split(order.fit_until_us, order.proof_from_us, order.unseen_by_champion)
    proof_rows, fit_rows = table.filter(pa.array(cut.proof_mask(times))), table.filter(pa.array(cut.fit_mask(times)))
    evaluated = Scorer(Path(order.evaluated), order.task, order.score_output)
    registered = Scorer(Path(order.registered), order.task, order.score_output)
    champion, blind = _champion(order)
    proof = _proof(order, proof_rows, evaluated, champion, blind)
    measured = [
        _data(order, proof_rows, fit_rows, evaluated.inputs),
        _parity(order, registered),
        gates.quality(proof, order.seed),
        gates.slices(proof, order.seed),
        gates.calibration(proof),
        _robustness(order, proof_rows, registered),
        _latency(proof_rows, registered, champion, blind),
        Gate("size", {"bytes": float(Path(order.registered).stat().st_size)}),
    ]
    importance = permutation_importance(order, proof_rows, evaluated)
    names = [name for name in evaluated.inputs if name in table.column_names]
    profile = build_profile(
        proof_rows.select(names),
        proof.candidate.scores,
        proof.labels,
        row_source.times_us(proof_rows),
        {name: max(value, 0.0) for name, value in importance.items()},
        order.task,
        decision_threshold=order.threshold,
        history=table.select(names),
        history_times=times,
    )
    (out / "profile.json").write_text(profile.to_json(), encoding="utf-8")
    found = {"gates": [asdict(gate) for gate in measured], "importance": importance}
    (out / "evaluation.json").write_text(json.dumps(found, indent=1, sort_keys=True), encoding="utf-8")


def _labels(table: pa.Table) -> NDArray[np.float64]:
    return np.asarray(table.column("label").to_numpy(), dtype=np.float64)


def _champion(order: Order) -> tuple[Scorer | None, str]:
    """The champion, if there is one; None and why when rows do not suffice to ask it."""
    if not order.champion:
        return None, ""
    try:
        return Scorer(Path(order.champion), order.task, order.score_output), ""
    except NotInRows as exc:
        return None, f"the champion cannot be asked: {exc}"


def _proof(order: Order, table: pa.Table, evaluated: Scorer, champion: Scorer | None, blind: str) -> gates.Proof:
    labels = _labels(table)

    def scored(model: Scorer) -> gates.Scored:
        scores = model.scores(table)
        if not np.isfinite(scores).all():
            raise JobFailed("the model answers NaN or infinity on held-out rows")
        return gates.Scored(scores, losses(order.task, scores, labels))

    slices = {
        name: np.asarray(
            pc.fill_null(table.column(name).cast(pa.string()), "").to_numpy(zero_copy_only=False), dtype=str
        )
        for name in order.slices
        if name in table.column_names
    }
    return gates.Proof(
        order.task,
        labels,
        row_source.times_us(table),
        scored(evaluated),
        scored(champion) if champion else None,
        order.threshold,
        slices,
        blind,
    )


def _data(order: Order, proof: pa.Table, fit: pa.Table, inputs: list[str]) -> Gate:
    """What was trained on: rows, coverage, missing values, categories that only the held-out rows have."""
    known = [name for name in inputs if name in fit.column_names]
    missing, unseen, constant = {}, {}, 0
    for name in known:
        column = fit.column(name)
        if name in text_columns(fit, [name]):
            empty = pc.sum(pc.equal(column, "").cast(pa.int64())).as_py() or 0
            missing[name] = empty / max(fit.num_rows, 1)
            fresh = pc.invert(pc.is_in(proof.column(name), value_set=pc.unique(column.combine_chunks())))
            unseen[name] = float(pc.mean(fresh.cast(pa.float64())).as_py() or 0.0)
            constant += int(pc.count_distinct(column).as_py() <= 1)
        else:
            values = column.to_numpy(zero_copy_only=False)
            missing[name] = float(np.isnan(values).mean())
            constant += int(len(values) > 0 and np.nanmin(values) == np.nanmax(values)) if missing[name] < 1 else 1
    labels = _labels(fit)
    numbers = {
        "rows": float(fit.num_rows),
        "proof_rows": float(proof.num_rows),
        "label_mean": float(labels.mean()),
        "missing_share": max(missing.values(), default=0.0),
        "unseen_share": max(unseen.values(), default=0.0),
        "constant_inputs": float(constant),
        "unknown_inputs": float(len(inputs) - len(known)),
        "proof_seen_by_champion": float(not order.unseen_by_champion),
    }
    if order.answers:
        numbers["label_coverage"] = order.labelled / order.answers
    worst = max(missing, key=lambda name: missing[name], default="")
    said = [f"{worst} is missing in {missing[worst]:.1%} of the rows"] if worst and missing[worst] > 0 else []
    if unlearned := [name for name in inputs if name not in known]:
        said.append(f"taken and not learned from, for no row has it: {', '.join(unlearned)}")
    return Gate("data", numbers, reason="; ".join(said))


def _parity(order: Order, registered: Scorer) -> Gate:
    if not order.parity:
        # No `not_measured`: nobody has shown that what was trained is what will be served, and that is refused.
        return Gate("parity", {"rows": 0.0}, reason="the pipeline left no parity.parquet: its own scores are not known")
    table = pq.read_table(order.parity)
    columns = sorted((c for c in table.column_names if c.startswith("__score")), key=lambda c: (len(c), c))
    native = np.stack([table.column(c).to_numpy().astype(np.float64) for c in columns], axis=1)
    served = registered.scores(table.drop_columns(columns))
    # A trained probability is float64, a served one float32: at the threshold itself the coarser one decides.
    native = native.astype(np.float32).astype(np.float64)
    return gates.parity(order.task, native if native.shape[1] > 1 else native[:, 0], served, order.threshold)


def permutation_importance(order: Order, proof: pa.Table, model: Scorer) -> dict[str, float]:
    """Input → growth of the mean loss when its values are shuffled between rows, on a sample of held-out rows."""
    rng = np.random.default_rng(order.seed)
    picked = np.sort(rng.choice(proof.num_rows, min(PERMUTATION_ROWS, proof.num_rows), replace=False))
    sample = proof.take(pa.array(picked)).combine_chunks()
    labels = _labels(sample)
    before = float(losses(order.task, model.scores(sample), labels).mean())
    shuffled = pa.array(rng.permutation(sample.num_rows))
    importance = {}
    for name in model.inputs:
        if name in sample.column_names:
            place = sample.schema.get_field_index(name)
            mixed = sample.set_column(place, sample.schema.field(name), sample.column(name).take(shuffled))
            importance[name] = round(float(losses(order.task, model.scores(mixed), labels).mean()) - before, 6)
    return importance


def _robustness(order: Order, proof: pa.Table, model: Scorer) -> Gate:
    """A little noise, everything missing, everything extreme: answers move a little and stay finite."""
    rng = np.random.default_rng(order.seed)
    sample = proof.slice(max(0, proof.num_rows - 2_000))
    texts = set(text_columns(sample, [n for n in model.inputs if n in sample.column_names]))
    numbers = [n for n in model.inputs if n in sample.column_names and n not in texts]
    noisy, missing, extreme = sample, sample, sample
    for name in numbers:
        values = sample.column(name).to_numpy(zero_copy_only=False).astype(np.float64)
        spread = float(np.nanstd(values)) if np.isfinite(values).any() else 0.0
        noisy = _put(noisy, name, values + rng.normal(0.0, 0.01 * spread, len(values)))
        missing = _put(missing, name, np.full(len(values), np.nan))
        extreme = _put(extreme, name, np.where(np.arange(len(values)) % 2, 1e30, -1e30))
    before, after = model.scores(sample), model.scores(noisy)
    odd = np.concatenate([model.scores(missing).ravel(), model.scores(extreme).ravel()])
    found = {"noise_shift": float(np.abs(after - before).mean()), "nonfinite": float((~np.isfinite(odd)).sum())}
    if order.task != "regression":
        flips = hard_labels(order.task, before, order.threshold) != hard_labels(order.task, after, order.threshold)
        found["noise_label_flips"] = float(flips.mean())
    return Gate("robustness", found, reason="1 % noise, all missing, extremes")


def _put(table: pa.Table, name: str, values: NDArray[np.float64]) -> pa.Table:
    field = table.schema.field(name)
    return table.set_column(table.schema.get_field_index(name), field, pa.array(values.astype(np.float32), field.type))


def _latency(proof: pa.Table, model: Scorer, champion: Scorer | None, blind: str) -> Gate:
    """A request of a few rows, candidate and champion in turn in this process, so that a busy machine is busy for
    both.
    """
    sample = proof.slice(0, LATENCY_ROWS).combine_chunks()
    ours, theirs = model.request(sample), champion.request(sample) if champion else None
    spent: list[float] = []
    champions: list[float] = []
    for _ in range(LATENCY_ROUNDS):
        spent.append(ours())
        if theirs is not None:
            champions.append(theirs())
    numbers = {"p50_us": float(np.median(spent) * 1e6), "p99_us": float(np.quantile(spent, 0.99) * 1e6)}
    if champions:
        numbers["champion_p50_us"] = float(np.median(champions) * 1e6)
        numbers["ratio"] = float(np.quantile(spent, 0.25) / max(np.quantile(champions, 0.25), FELT_S))
    missing = "" if champions else blind or gates.NO_CHAMPION
    return Gate("latency", numbers, reason=f"{LATENCY_ROWS} rows a request", not_measured=missing)


def main(arguments: list[str]) -> int:
    """Exit code 0, or 2 with one line that says why the candidate cannot be evaluated."""
    path = Path(arguments[1])
    given: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    given["slices"] = tuple(given["slices"])
    try:
        evaluate(Order(**given), path.parent)
    except GyrostatError as exc:
        print(f"evaluation: {exc}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
