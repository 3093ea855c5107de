"""Reference profiles from the artifact store. A missing or broken one leaves a version without tests, never without
rows.
"""

from __future__ import annotations

from gyrostat_common import telemetry
from gyrostat_common.artifacts import ArtifactStore
from gyrostat_common.errors import InvalidInput, NotFound
from gyrostat_common.profile import Profile
from gyrostat_monitor.domain.plan import ProfileRef

log = telemetry.get_logger("monitor")


class ProfileFiles:
    """Reads by digest."""

    def __init__(self, artifacts: ArtifactStore) -> None:
        self._artifacts = artifacts

    async def load(self, ref: ProfileRef) -> Profile | None:
        """None when the file is missing or no profile; raises Unavailable when the store does not answer."""
        try:
            return Profile.from_json(await self._artifacts.get_bytes(ref.sha256))
        except (NotFound, InvalidInput) as error:
            log.error("profile_unusable", sha256=ref.sha256, uri=ref.uri, detail=str(error)[:300])
            return None
