"""`python -m gyrostat_registry [--check]`."""

from gyrostat_common.runtime import run
from gyrostat_registry.app import open_app
from gyrostat_registry.settings import Settings

if __name__ == "__main__":
    run(open_app, Settings)
