"""Who may start a roll-out: the strictest of the model's switch and the global one, and the brake on promotions."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from gyrostat_registry.domain.spec import Mode

_STRICTNESS = {Mode.ON: 0, Mode.PROPOSE: 1, Mode.UNSPECIFIED: 1, Mode.OFF: 2}
BRAKE_SPAN = timedelta(days=7)


def effective(model: Mode, everywhere: Mode) -> Mode:
    """Off beats propose beats on.

    >>> effective(Mode.ON, Mode.PROPOSE).value
    'propose'
    """
    strictest = max(model, everywhere, key=lambda mode: _STRICTNESS[mode])
    return Mode.PROPOSE if strictest is Mode.UNSPECIFIED else strictest


def braked(promotions: Iterable[datetime | None], now: datetime | None, most: int) -> bool:
    """Whether `most` automatic promotions lie in the 7 days of event time up to `now`.

    Without a `now` (no event time is known) every promotion counts: the brake must not depend on a missing time.
    """
    recent = [at for at in promotions if at is None or now is None or now - BRAKE_SPAN < at]
    return len(recent) >= most
