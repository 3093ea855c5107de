"""Kafka and the four services as processes of one machine: `make up`, the demo, the e2e and chaos tests.

`LocalSystem` is the library, `python -m gyrostat_local up|down|status` the command. The commands come from the
Procfile, the single place that says how a process is started.
"""

from gyrostat_local.plan import KAFKA, SERVICES
from gyrostat_local.readiness import NotReady
from gyrostat_local.system import LocalSystem

__all__ = ["KAFKA", "SERVICES", "LocalSystem", "NotReady"]
