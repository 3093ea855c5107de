"""Everything that the registry can do, in one value for those who hand it on."""

from dataclasses import dataclass

from gyrostat_registry.usecases.autopilot import Autopilot
from gyrostat_registry.usecases.catalogue import Catalogue
from gyrostat_registry.usecases.champions import Champions
from gyrostat_registry.usecases.evidence import Evidence
from gyrostat_registry.usecases.plans import Plans
from gyrostat_registry.usecases.repair import Repair
from gyrostat_registry.usecases.rollouts import Rollouts
from gyrostat_registry.usecases.runs import Runs
from gyrostat_registry.usecases.versions import Versions


@dataclass(frozen=True)
class Cases:
    """One member per concern."""

    catalogue: Catalogue
    versions: Versions
    runs: Runs
    rollouts: Rollouts
    champions: Champions
    autopilot: Autopilot
    plans: Plans
    repair: Repair
    evidence: Evidence
