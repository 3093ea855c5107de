"""How people name a version: `fraud:3`, `fraud@champion`, `models:/fraud@champion`, `fraud:v1.2`.

Owns the grammar of references and nothing else: turning an alias into a number is the registry's business. Called by
the SDK and by every command that takes a model or a version.
"""

import re
from dataclasses import dataclass

from gyrostat_common.errors import InvalidInput

_MODEL = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_ALIAS = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,62}")
_EXAMPLES = "fraud:3, fraud@champion, models:/fraud@champion or fraud:v1.2"


class BadReference(InvalidInput):
    """The text names no model or version."""


@dataclass(frozen=True)
class Reference:
    """A model, and perhaps one of its versions by number or alias (empty: none was named)."""

    model: str
    version: str = ""

    @property
    def number(self) -> int:
        """The version number, or 0 when the version is an alias or absent."""
        return int(self.version) if self.version.isdigit() else 0

    def __str__(self) -> str:
        if not self.version:
            return self.model
        return f"{self.model}:{self.version}" if self.number else f"{self.model}@{self.version}"


def parse(text: str) -> Reference:
    """Reads a reference to a model or a version; raises BadReference with examples."""
    body = text.removeprefix("models:/").strip()
    model, separator, version = _split(body)
    if not _MODEL.fullmatch(model):
        raise BadReference(f"{text!r} names no model; a reference looks like {_EXAMPLES}")
    if separator and not version:
        raise BadReference(f"{text!r} ends before the version; a reference looks like {_EXAMPLES}")
    if version and not _is_version(version, separator):
        raise BadReference(
            f"{version!r} in {text!r} is neither a version number nor an alias; a reference looks like {_EXAMPLES}"
        )
    return Reference(model, str(int(version)) if version.isdigit() else version)


def parse_version(text: str) -> Reference:
    """Like `parse`, but a version must be named."""
    reference = parse(text)
    if not reference.version:
        raise BadReference(f"{text!r} names no version; a version looks like {_EXAMPLES}")
    return reference


def is_prediction_id(text: str) -> bool:
    """Whether the text is a prediction id: a UUID, perhaps with `/<row>`."""
    return re.fullmatch(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}(?:/\d+)?", text.strip().lower()) is not None


def _split(body: str) -> tuple[str, str, str]:
    """Model, separator (`:`, `@`, `/` or none) and version, cut at the first separator."""
    found = re.search(r"[:@/]", body)
    return (body, "", "") if found is None else (body[: found.start()], found.group(), body[found.end() :])


def _is_version(version: str, separator: str) -> bool:
    """A number from 1 behind `:` or `/`, or an alias behind any separator."""
    if version.isdigit():
        return separator != "@" and int(version) > 0
    return _ALIAS.fullmatch(version) is not None
