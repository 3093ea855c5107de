"""ModelSpec as people write it: YAML or JSON with the contract's field names and short words for enums.

Reading is strict: an unknown field or word is refused with what is known, so that no misspelt policy goes unseen.
"""

import difflib
import json
import re
from collections.abc import Mapping
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from gyrostat.registry.v1 import model_pb2
from gyrostat_client.plain import enum_word, to_plain
from gyrostat_common.errors import InvalidInput


class BadSpec(InvalidInput):
    """The text is no ModelSpec."""


def read(text: str, onto: model_pb2.ModelSpec | None = None) -> model_pb2.ModelSpec:
    """A ModelSpec from YAML (and so from JSON); its `revision`, if given, is the one it was made from.

    Fields that the text does not name are as in `onto`; a list or a mapping that it names replaces the whole.
    """
    import yaml

    try:
        given = yaml.load(text, _loader())
    except yaml.YAMLError as error:
        raise BadSpec(f"no YAML or JSON: {error}") from None
    if not isinstance(given, dict):
        raise BadSpec("a spec is a mapping of fields such as owner, task, retrain, rollout")
    spec = model_pb2.ModelSpec()
    if onto is not None:
        spec.CopyFrom(onto)
    _fill(spec, given, "")
    return spec


def write(spec: model_pb2.ModelSpec, *, as_json: bool = False) -> str:
    """The spec as text that `read` takes, without fields that are empty."""
    import yaml

    plain = _without_empty(to_plain(spec))
    if as_json:
        return json.dumps(plain, indent=2, ensure_ascii=False)
    return str(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=100)).rstrip()


def diff(
    before: model_pb2.ModelSpec, after: model_pb2.ModelSpec, names: tuple[str, str] = ("now", "file")
) -> list[str]:
    """Lines of a unified diff; empty when both say the same. The revision does not count."""
    texts: list[list[str]] = []
    for spec in (before, after):
        copy = model_pb2.ModelSpec()
        copy.CopyFrom(spec)
        copy.revision = 0
        texts.append(write(copy).splitlines())
    return list(difflib.unified_diff(texts[0], texts[1], names[0], names[1], lineterm=""))


def _loader() -> Any:
    """YAML 1.2's booleans: only true and false. Else the field `on` and the mode `off` would be read as booleans."""
    import yaml

    class Loader(yaml.SafeLoader):
        """Without YAML 1.1's yes, no, on and off."""

    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"true|false", re.IGNORECASE), list("tTfF"))
    return Loader


def _fill(message: Message, given: Mapping[str, Any], path: str) -> None:
    """Sets the fields of a message from plain values."""
    fields = message.DESCRIPTOR.fields_by_name
    for name, value in given.items():
        here = f"{path}{name}"
        if name not in fields:
            close = difflib.get_close_matches(str(name), list(fields), n=1)
            raise BadSpec(
                f"unknown field {here}"
                + (f"; did you mean {path}{close[0]}?" if close else f"; known are {', '.join(sorted(fields))}")
            )
        if value is not None:
            try:
                _set(message, fields[str(name)], value, here)
            except (TypeError, ValueError, AttributeError) as error:
                raise BadSpec(f"{here}: {value!r} does not fit: {error}") from None


def _set(message: Message, field: Any, value: Any, here: str) -> None:
    """Sets one field: a map, a list, a message, a word or a number."""
    entry = field.message_type
    if field.is_repeated:
        message.ClearField(field.name)
    if entry is not None and entry.GetOptions().map_entry:
        kind = entry.fields_by_name["value"]
        for key, item in value.items():
            getattr(message, field.name)[str(key)] = _value(kind, item, f"{here}.{key}")
    elif field.is_repeated:
        if not isinstance(value, list):
            raise BadSpec(f"{here}: a list is wanted")
        for number, item in enumerate(value):
            if entry is not None:
                _fill(getattr(message, field.name).add(), item, f"{here}.{number}.")
            else:
                getattr(message, field.name).append(_value(field, item, here))
    elif entry is not None:
        if not isinstance(value, dict):
            raise BadSpec(f"{here}: a mapping is wanted")
        getattr(message, field.name).SetInParent()
        _fill(getattr(message, field.name), value, f"{here}.")
    else:
        setattr(message, field.name, _value(field, value, here))


def _value(field: Any, value: Any, here: str) -> Any:
    """A scalar; an enum by its word; an object for a JSON field as text."""
    if field.type == FieldDescriptor.TYPE_ENUM:
        words = {enum_word(field.enum_type, one.number): one.number for one in field.enum_type.values}
        word = str(value).lower()
        if word not in words:
            raise BadSpec(f"{here}: {value!r} is none of {', '.join(sorted(filter(None, words)))}")
        return words[word]
    if field.name.endswith("_json") and not isinstance(value, str):
        return json.dumps(value)
    if field.type in (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT):
        return float(value)
    return value


def _without_empty(plain: Any) -> Any:
    """Without zeros, empty texts, lists and mappings: an absent field means the default."""
    if isinstance(plain, dict):
        kept = {key: _without_empty(value) for key, value in plain.items()}
        return {key: value for key, value in kept.items() if value not in ("", 0, [], {}, None) or value is False}
    # In a list of mappings a zero says something: a gate's threshold.
    return plain
