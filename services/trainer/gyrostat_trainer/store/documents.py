"""Runs and episodes as the JSON text of their row."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from gyrostat_trainer.domain.episodes import Episode
from gyrostat_trainer.domain.runs import Gate, Run, Snapshot
from gyrostat_trainer.domain.spec import TrainingSpec


def run_text(run: Run) -> str:
    """A run as text."""
    fields = asdict(run)
    fields["spec"] = run.spec.to_json()
    return json.dumps(fields, sort_keys=True)


def run_from(text: str) -> Run:
    """The run of a text."""
    fields: dict[str, Any] = json.loads(text)
    fields["spec"] = TrainingSpec.from_json(fields["spec"])
    fields["causes"] = tuple(fields["causes"])
    fields["gates"] = tuple(Gate(**gate) for gate in fields["gates"])
    if fields["snapshot"] is not None:
        fields["snapshot"]["excluded"] = tuple(fields["snapshot"]["excluded"])
        fields["snapshot"] = Snapshot(**fields["snapshot"])
    return Run(**fields)


def episode_text(episode: Episode) -> str:
    """An episode as text."""
    return json.dumps(asdict(episode), sort_keys=True)


def episode_from(text: str) -> Episode:
    """The episode of a text."""
    fields: dict[str, Any] = json.loads(text)
    fields["features"] = tuple(fields["features"])
    return Episode(**fields)
