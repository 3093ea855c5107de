"""The trainer's own pipeline, run by hand on a Parquet file: what the monthly arm and the careless operator use."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime as ort
import pyarrow.parquet as pq

from flights.policy import PARAMETERS
from flights.year import CATEGORIES, FEATURES, Flights

COMMAND: Final = (sys.executable, "-m", "gyrostat_trainer.pipelines.tabular")
TIMEOUT_S: Final = 180.0


class PipelineFailed(Exception):
    """The command ended with an error; holds its last line."""


async def train(flights: Flights, folder: Path, seed: int) -> Path:
    """Trains on the labelled flights and returns the ONNX file."""
    dataset = await asyncio.to_thread(_write, flights, folder)
    environ = os.environ | {
        "GYROSTAT_DATASET": str(dataset),
        "GYROSTAT_OUTPUT": str(folder),
        "GYROSTAT_PARAMETERS": json.dumps(PARAMETERS | {"seed": seed}, sort_keys=True),
        "GYROSTAT_RUN_ID": folder.name,
    }
    # Nobody waits for these: the services go first.
    process = await asyncio.create_subprocess_exec(
        "nice", "-n", "10", *COMMAND, env=environ, stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(TIMEOUT_S):
            _, error = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    dataset.unlink()
    if process.returncode:
        raise PipelineFailed(f"{folder.name}: {(error.decode().strip().splitlines() or ['no message'])[-1]}")
    return folder / "model.onnx"


def _write(flights: Flights, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    dataset = folder / "dataset.parquet"
    pq.write_table(flights.labelled().table(), dataset)
    return dataset


def score(model: Path, flights: Flights) -> np.ndarray:
    """Probability of being late for each flight, in ONNX Runtime as it is served."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    scores = np.empty(len(flights), np.float64)
    for start in range(0, len(flights), 4_096):
        rows = slice(start, start + 4_096)
        feed = {name: _column(name, flights.features[name][rows]) for name in FEATURES}
        scores[rows] = session.run(["probabilities"], feed)[0][:, -1]
    return scores


def _column(name: str, values: np.ndarray) -> np.ndarray:
    return values.reshape(-1, 1) if name in CATEGORIES else values.astype(np.float32).reshape(-1, 1)
