"""The messages that events and replies share, for the service."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from gyrostat.events.v1 import events_pb2 as pb
from gyrostat_monitor.domain.episodes import Episode, State
from gyrostat_monitor.domain.history import Judged
from gyrostat_monitor.domain.outcomes import Ref
from gyrostat_monitor.domain.windows import Span
from gyrostat_monitor.events import decoding, encoding


class EventWords:
    """Fits usecases.words.Words."""

    def ref(self, message: pb.PredictionRef) -> Ref:
        """Raises OutcomeInvalid."""
        return decoding.ref(message)

    def stamp(self, us: int) -> Timestamp | None:
        """A time."""
        return encoding.stamp(us)

    def window(self, span: Span, rows: int) -> pb.Window:
        """A window."""
        return encoding.window(span, rows)

    def episode(self, episode: Episode) -> pb.DriftDetected:
        """As last told."""
        return encoding.episode(episode)

    def state(self, state: str) -> int:
        """A state's number."""
        return int(encoding.STATES[State(state)])

    def judged(self, j: Judged) -> pb.CanaryJudged:
        """As published."""
        return encoding.judged(
            j.rollout_id, j.environment, j.model, (j.candidate, j.baseline), j.revision, j.watermark_us, j.judgement
        )
