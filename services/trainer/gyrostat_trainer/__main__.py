"""Starts the trainer: `python -m gyrostat_trainer [--check]`."""

from gyrostat_common.runtime import run
from gyrostat_trainer.app import open_app
from gyrostat_trainer.settings import Settings

if __name__ == "__main__":
    run(open_app, Settings)
