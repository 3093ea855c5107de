"""How things may be called, and what a reference to a version means."""

import re

from gyrostat_registry.domain.errors import BadName

DEFAULT_ENVIRONMENT = "production"

# These follow the plan (or the numbering) and cannot be set by hand.
FOLLOWING_ALIASES = ("champion", "canary", "challenger", "fallback", "latest")

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_ALIAS = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,62}")
_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


def checked_name(name: str, what: str = "model") -> str:
    """The name, or BadName: 1 to 63 of a-z, 0-9, - and _, beginning with a letter."""
    if not _NAME.fullmatch(name):
        raise BadName(f"{what} name {name[:80]!r}: 1 to 63 of a-z, 0-9, - and _, beginning with a letter")
    return name


def checked_alias(alias: str) -> str:
    """The alias, or BadName: it must not look like a number nor be one that follows the plan."""
    if alias in FOLLOWING_ALIASES:
        raise BadName(f"alias {alias!r} follows the plan and cannot be set; promote or roll out a version instead")
    if not _ALIAS.fullmatch(alias):
        raise BadName(f"alias {alias[:80]!r}: 1 to 63 letters, digits, '.', '-' and '_', beginning with a letter")
    return alias


def checked_run_id(run_id: str) -> str:
    """The run id, or BadName."""
    if not _RUN.fullmatch(run_id):
        raise BadName(f"run id {run_id[:140]!r}: 1 to 128 letters, digits, '.', ':', '-' and '_'")
    return run_id


def checked_digest(sha256: str) -> str:
    """The digest, or BadName: 64 lower-case hex digits."""
    if not _DIGEST.fullmatch(sha256):
        raise BadName(f"sha256 {sha256[:80]!r}: 64 lower-case hex digits expected")
    return sha256


def version_number(reference: str) -> int | None:
    """The number that a reference is, or None when it is an alias.

    >>> version_number("12"), version_number("champion")
    (12, None)
    """
    if not reference.isascii() or not reference.isdigit():
        return None
    if len(reference) > 18 or int(reference) < 1:
        raise BadName(f"version {reference[:40]!r}: numbers begin at 1")
    return int(reference)
