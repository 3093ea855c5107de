"""The built-in pipeline: a table in, a LightGBM model with its preprocessing inside one ONNX graph out.

Run as `python -m gyrostat_trainer.pipelines.tabular` through the door (see door.py); the trainer runs it, and so may
you, on any Parquet file. The same rows, parameters and package versions give the same bytes: one thread, a seed, row-
wise histograms, float32.
"""

from __future__ import annotations

import json
import sys
import warnings
from typing import Any, Literal

if __name__ == "__main__":
    # LightGBM and Arrow import these when they are there, for interfaces this program does not use: half its start-up.
    class _Absent:
        def find_spec(self, name: str, path: object = None, target: object = None) -> None:
            if name.partition(".")[0] in {"pandas", "sklearn", "matplotlib", "dask"}:
                raise ModuleNotFoundError(name)

    sys.meta_path.insert(0, _Absent())

import lightgbm as lgb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gyrostat_trainer.pipelines import encoding, graph
from gyrostat_trainer.pipelines.contract import Contract
from gyrostat_trainer.pipelines.door import EVENT_TIME, LABEL, RESERVED, WEIGHT, Door, JobRefused

Task = Literal["binary", "multiclass", "regression"]
_OBJECTIVES: dict[str, str] = {"binary": "binary", "multiclass": "multiclass", "regression": "l2"}
# Thresholds per feature whose neighbours are added to the parity rows.
BOUNDARIES_PER_FEATURE = 25


class Parameters(BaseModel):
    """What can be asked of the pipeline; an unknown name is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: Task | Literal["auto"] = Field("auto", description="auto: binary when every label is 0 or 1, else regression")
    features: list[str] | None = Field(
        None, description="columns to use, in this order; default: all that are not reserved"
    )
    ignore: list[str] = Field(default_factory=list, description="columns to leave out")
    num_boost_round: int = Field(150, ge=1, le=5000, description="trees (times classes for multiclass)")
    learning_rate: float = Field(0.05, gt=0, le=1)
    num_leaves: int = Field(31, ge=2, le=1024)
    min_data_in_leaf: int = Field(100, ge=1)
    max_bin: int = Field(127, ge=3, le=1023)
    lambda_l2: float = Field(5.0, ge=0)
    feature_fraction: float = Field(0.8, gt=0, le=1)
    half_life_days: float | None = Field(None, gt=0, description="a row this much older than the newest counts half")
    min_category_rows: int = Field(20, ge=1, description="a category with fewer rows is treated as unseen")
    decision_threshold: float = Field(
        0.5, gt=0, lt=1, description="binary: probability from which the label output is 1"
    )
    seed: int = Field(0, ge=0)


def train(door: Door) -> None:
    """Reads the dataset, fits, and leaves model.onnx, metrics.json and parity.parquet."""
    parameters = _parameters(door.parameters)
    table = pq.read_table(door.dataset)
    labels = _labels(table)
    task, classes = _task(parameters.task, labels)
    names = _names(table, parameters, door.contract)
    door.report(0.02, f"{table.num_rows:,} rows, {len(names)} inputs")
    features = encoding.learn(table, names, labels, parameters.min_category_rows, door.contract)
    rows = encoding.matrix(table, features)
    booster = fit(rows, labels, _weights(table, parameters), features, task, classes, parameters, door)
    dump = booster.dump_model()
    model = graph.export(dump, features, task, classes, parameters.decision_threshold, door.contract)
    if door.probe is not None:
        _write_parity(door, booster, dump, features, task)
    metrics = _metrics(booster, features, table.num_rows, task, labels, rows)
    door.write("metrics.json", json.dumps(metrics, indent=1, sort_keys=True).encode())
    door.write("model.onnx", model)
    door.report(1.0, f"{booster.num_trees()} trees, {len(model):,} bytes")


def _parameters(given: dict[str, Any]) -> Parameters:
    try:
        return Parameters.model_validate(given)
    except ValidationError as exc:
        first = exc.errors()[0]
        raise JobRefused(f"parameter {'.'.join(str(p) for p in first['loc'])}: {first['msg']}") from exc


def _labels(table: pa.Table) -> NDArray[np.float64]:
    if LABEL not in table.column_names:
        raise JobRefused(f"the dataset has no column {LABEL!r}")
    labels = np.asarray(table.column(LABEL).cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)
    if len(labels) == 0 or not np.isfinite(labels).all():
        raise JobRefused("every row needs a finite label, and there must be rows")
    if labels.min() == labels.max():
        raise JobRefused(f"every label is {labels[0]:g}; there is nothing to learn")
    return labels


def _task(asked: str, labels: NDArray[np.float64]) -> tuple[str, int]:
    """The task and the number of margins a row has."""
    distinct = np.unique(labels) if asked != "regression" else labels[:0]
    zero_or_one = len(distinct) > 0 and set(distinct.tolist()) <= {0.0, 1.0}
    task = ("binary" if zero_or_one else "regression") if asked == "auto" else asked
    if task == "binary" and not zero_or_one:
        raise JobRefused("a binary label is 0 or 1")
    if task == "multiclass":
        if (distinct != np.floor(distinct)).any() or distinct[0] < 0 or distinct[-1] > 999:
            raise JobRefused("a multiclass label is a class number, 0 to 999")
        return task, int(distinct[-1]) + 1
    return task, 1


def _names(table: pa.Table, parameters: Parameters, contract: Contract) -> list[str]:
    """What is learned from: the columns that callers send, unless the parameters name others."""
    available = [name for name in table.column_names if name not in RESERVED]
    sent = [name for name in available if contract.takes(name)]
    wanted = sent if parameters.features is None else parameters.features
    for name in wanted:
        if name not in available:
            raise JobRefused(f"feature {name!r} is not in the dataset; there are {', '.join(available)}")
    names = [name for name in wanted if name not in parameters.ignore]
    if not names:
        asked = f"; callers send {', '.join(map(str, contract.inputs))}" if contract.inputs else ""
        raise JobRefused(f"no feature is left{asked}")
    return names


def _weights(table: pa.Table, parameters: Parameters) -> NDArray[np.float32] | None:
    weights = np.ones(table.num_rows)
    if WEIGHT in table.column_names:
        given = table.column(WEIGHT).cast(pa.float64()).to_numpy(zero_copy_only=False)
        weights *= np.where(np.isfinite(given) & (given > 0), given, 1.0)
    if parameters.half_life_days is not None and EVENT_TIME in table.column_names:
        instants = table.column(EVENT_TIME).cast(pa.timestamp("us")).cast(pa.int64()).to_numpy(zero_copy_only=False)
        age_days = (instants.max() - instants) / 86_400e6
        weights *= np.exp2(-age_days / parameters.half_life_days)
    return None if (weights == 1.0).all() else weights.astype(np.float32)


def fit(
    rows: NDArray[np.float32],
    labels: NDArray[np.float64],
    weights: NDArray[np.float32] | None,
    features: tuple[encoding.Feature, ...],
    task: str,
    classes: int,
    parameters: Parameters,
    door: Door,
) -> lgb.Booster:
    """The booster: the same one for the same arguments."""
    settings: dict[str, Any] = {
        "objective": _OBJECTIVES[task],
        "verbosity": -1,
        "num_threads": 1,
        "deterministic": True,
        "force_row_wise": True,
        "seed": parameters.seed,
        **parameters.model_dump(
            include={"learning_rate", "num_leaves", "min_data_in_leaf", "max_bin", "lambda_l2", "feature_fraction"}
        ),
    }
    if task == "multiclass":
        settings["num_class"] = classes
    names = [f"f{i}" for i in range(len(features))]
    rounds = parameters.num_boost_round

    def tell(env: Any) -> None:
        if (env.iteration + 1) % max(1, rounds // 20) == 0:
            door.report(0.05 + 0.85 * (env.iteration + 1) / rounds, f"tree {env.iteration + 1} of {rounds}")

    data = lgb.Dataset(rows, label=labels, weight=weights, feature_name=names, params={"verbosity": -1})
    return lgb.train(settings, data, num_boost_round=rounds, callbacks=[tell])


def native_scores(booster: lgb.Booster, rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """[n] probabilities or predictions, or [n, classes], as LightGBM itself computes them."""
    return np.asarray(booster.predict(rows, num_threads=1), dtype=np.float64)


def _write_parity(
    door: Door, booster: lgb.Booster, dump: dict[str, Any], features: tuple[encoding.Feature, ...], task: str
) -> None:
    """The probe rows and the rows beside the thresholds, each with its native score."""
    assert door.probe is not None
    probe = pq.read_table(door.probe)
    inputs = pa.table({f.name: _probe_column(probe, f) for f in features})
    boundary = _boundary_rows(inputs, dump, features)
    everything = pa.concat_tables([inputs, boundary]) if boundary is not None else inputs
    scores = native_scores(booster, encoding.matrix(everything, features))
    wide = scores.reshape(len(scores), -1)
    columns = {f"score_{k}" if scores.ndim > 1 else "score": wide[:, k] for k in range(wide.shape[1])}
    for name, values in columns.items():
        everything = everything.append_column(f"__{name}", pa.array(values))
    sink = pa.BufferOutputStream()
    pq.write_table(everything, sink)
    door.write("parity.parquet", sink.getvalue().to_pybytes())


def _probe_column(probe: pa.Table, feature: encoding.Feature) -> pa.ChunkedArray:
    return probe.column(feature.name).cast(pa.string() if feature.is_category else pa.float32(), safe=False)


def _boundary_rows(inputs: pa.Table, dump: dict[str, Any], features: tuple[encoding.Feature, ...]) -> pa.Table | None:
    """For a sample of thresholds of each number: rows at it and one float32 step to each side."""
    found: dict[int, set[float]] = {}
    for number, value in graph.thresholds(dump):
        found.setdefault(number, set()).add(value)
    pieces = []
    for number, values in sorted(found.items()):
        if features[number].is_category or inputs.num_rows == 0:
            continue
        ordered = np.array(sorted(values), dtype=np.float32)
        picked = ordered[np.linspace(0, len(ordered) - 1, min(len(ordered), BOUNDARIES_PER_FEATURE)).astype(int)]
        beside = np.concatenate(
            [np.nextafter(picked, np.float32(-np.inf)), picked, np.nextafter(picked, np.float32(np.inf))]
        )
        base = inputs.take(pa.array(np.arange(len(beside)) % inputs.num_rows))
        pieces.append(base.set_column(number, features[number].name, pa.array(beside)))
    return pa.concat_tables(pieces) if pieces else None


def _metrics(
    booster: lgb.Booster,
    features: tuple[encoding.Feature, ...],
    rows: int,
    task: str,
    labels: NDArray[np.float64],
    x: Any,
) -> dict[str, Any]:
    gain = booster.feature_importance("gain")
    total = float(gain.sum()) or 1.0
    return {
        "task": task,
        "train.rows": rows,
        "train.label_mean": float(labels.mean()),
        "train.trees": booster.num_trees(),
        "importance": {f.name: round(float(g) / total, 6) for f, g in zip(features, gain, strict=True)},
        "missing_share": {f.name: round(float(np.isnan(x[:, i]).mean()), 6) for i, f in enumerate(features)},
        "categories": {f.name: len(f.codes) for f in features if f.codes is not None},
    }


def main() -> int:
    """Exit code 0, or 2 with one line that says what to change."""
    warnings.simplefilter("ignore")
    try:
        train(Door.open())
    except (JobRefused, ValueError, OSError) as exc:
        print(f"tabular: {exc}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
