"""Starts the inference service."""

from gyrostat_common.runtime import run
from gyrostat_inference.app import open_app
from gyrostat_inference.settings import Settings

if __name__ == "__main__":
    run(open_app, Settings)
