"""python -m gyrostat_monitor"""

from gyrostat_common.runtime import run
from gyrostat_monitor.app import open_app
from gyrostat_monitor.settings import Settings

if __name__ == "__main__":
    run(open_app, Settings)
