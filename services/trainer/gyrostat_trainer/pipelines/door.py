"""The door every training job goes through: environment variables in, files out.

In: `GYROSTAT_DATASET` (Parquet: model inputs by name, `label`, `event_time`, optional `weight` and `entity`),
`GYROSTAT_OUTPUT` (folder), `GYROSTAT_PARAMETERS` (JSON object), `GYROSTAT_RUN_ID`; optional `GYROSTAT_PROGRESS` (file
for JSON lines), `GYROSTAT_SIGNATURE` (JSON: the inputs and outputs that callers of the champion know),
`GYROSTAT_PROBE` (Parquet of inputs without labels, to be scored by the trained model as it is before
export) and `GYROSTAT_PURPOSE` (`evaluate` or `refit`). Out: `model.onnx`; optional `metrics.json` and
`parity.parquet` (inputs and the native score of the probe rows). Exit code 0 is success; the last line of stderr says
why not.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gyrostat_trainer.pipelines.contract import NOBODYS, Contract

LABEL = "label"
EVENT_TIME = "event_time"
WEIGHT = "weight"
ENTITY = "entity"
RESERVED = frozenset({LABEL, EVENT_TIME, WEIGHT, ENTITY})


class JobRefused(Exception):
    """The job cannot be done as asked; the message is for the person who asked."""


@dataclass(frozen=True)
class Door:
    """What a job was given."""

    dataset: Path
    output: Path
    parameters: dict[str, Any]
    run_id: str = ""
    progress: Path | None = None
    probe: Path | None = None
    purpose: str = "evaluate"
    contract: Contract = NOBODYS
    started_at: float = field(default_factory=time.monotonic)

    @classmethod
    def open(cls, environ: dict[str, str] | None = None) -> Door:
        """Reads the variables; JobRefused names the one that is missing or wrong."""
        env = dict(os.environ) if environ is None else environ
        missing = [name for name in ("GYROSTAT_DATASET", "GYROSTAT_OUTPUT") if not env.get(name)]
        if missing:
            raise JobRefused(f"{missing[0]} is not set")
        try:
            parameters = json.loads(env.get("GYROSTAT_PARAMETERS") or "{}")
        except json.JSONDecodeError as exc:
            raise JobRefused(f"GYROSTAT_PARAMETERS is not JSON: {exc}") from exc
        if not isinstance(parameters, dict):
            raise JobRefused("GYROSTAT_PARAMETERS must be a JSON object")
        try:
            contract = Contract.from_json(env.get("GYROSTAT_SIGNATURE", ""))
        except ValueError as exc:
            raise JobRefused(f"GYROSTAT_SIGNATURE is not the JSON of a signature: {exc}") from exc
        output = Path(env["GYROSTAT_OUTPUT"])
        output.mkdir(parents=True, exist_ok=True)
        return cls(
            dataset=Path(env["GYROSTAT_DATASET"]),
            output=output,
            parameters=parameters,
            run_id=env.get("GYROSTAT_RUN_ID", ""),
            progress=Path(env["GYROSTAT_PROGRESS"]) if env.get("GYROSTAT_PROGRESS") else None,
            probe=Path(env["GYROSTAT_PROBE"]) if env.get("GYROSTAT_PROBE") else None,
            purpose=env.get("GYROSTAT_PURPOSE") or "evaluate",
            contract=contract,
        )

    def report(self, fraction: float, text: str) -> None:
        """Appends one line of progress; silent when nobody listens."""
        if self.progress is None:
            return
        spent = time.monotonic() - self.started_at
        eta_s = round(spent / fraction - spent, 1) if fraction > 0 else 0.0
        line = {"fraction": round(min(fraction, 1.0), 4), "stage": "fit", "eta_s": eta_s, "text": text}
        with self.progress.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")

    def write(self, name: str, content: bytes) -> Path:
        """Writes a file into the output folder, whole or not at all."""
        partial = self.output / f".{name}.partial"
        partial.write_bytes(content)
        return partial.replace(self.output / name)
