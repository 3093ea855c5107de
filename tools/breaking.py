#!/usr/bin/env python3
"""Refuse a change of the contract that would break somebody who was built against the last commit on main.

    python tools/breaking.py                 compare with main (or, when we are its last commit, with the one before)
    python tools/breaking.py --against REF   compare with another commit

Breaking: a message, field, enum value, service or RPC removed, renamed, renumbered or retyped; a topic renamed, gone,
with another cleanup policy, event type or fewer partitions. Adding is always fine.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)

from descriptors import ROOT, TOPIC, descriptor_set, oip_sources, sources

LABELS = FieldDescriptorProto.Label
TYPES = FieldDescriptorProto.Type


def breaks(old: FileDescriptorSet, new: FileDescriptorSet) -> list[str]:
    """Return a sentence for each change that breaks a reader, writer or caller of `old`."""
    lines: list[str] = []
    old_messages, new_messages = dict(messages(old)), dict(messages(new))
    for name, message in old_messages.items():
        if name not in new_messages:
            lines.append(f"message {name} is gone")
        else:
            lines += _message_breaks(name, message, new_messages[name])
    old_enums, new_enums = dict(enums(old)), dict(enums(new))
    for name, enum in old_enums.items():
        if name not in new_enums:
            lines.append(f"enum {name} is gone")
        else:
            lines += _enum_breaks(name, enum, new_enums[name])
    old_services, new_services = dict(services(old)), dict(services(new))
    for name, service in old_services.items():
        if name not in new_services:
            lines.append(f"service {name} is gone")
        else:
            lines += _service_breaks(name, service, new_services[name])
    return lines


def messages(files: FileDescriptorSet) -> Iterator[tuple[str, DescriptorProto]]:
    """Yield every message, nested ones too, by full name; Google's own files are not ours to judge."""
    for file in files.file:
        if not file.name.startswith("google/"):
            for message in file.message_type:
                yield from _nested(f"{file.package}.{message.name}", message)


def _nested(name: str, message: DescriptorProto) -> Iterator[tuple[str, DescriptorProto]]:
    yield name, message
    for inner in message.nested_type:
        yield from _nested(f"{name}.{inner.name}", inner)


def enums(files: FileDescriptorSet) -> Iterator[tuple[str, EnumDescriptorProto]]:
    """Yield every enum by full name."""
    for file in files.file:
        if not file.name.startswith("google/"):
            yield from ((f"{file.package}.{enum.name}", enum) for enum in file.enum_type)
    for name, message in messages(files):
        yield from ((f"{name}.{enum.name}", enum) for enum in message.enum_type)


def services(files: FileDescriptorSet) -> Iterator[tuple[str, ServiceDescriptorProto]]:
    """Yield every service by full name."""
    for file in files.file:
        yield from ((f"{file.package}.{service.name}", service) for service in file.service)


def _message_breaks(name: str, old: DescriptorProto, new: DescriptorProto) -> Iterator[str]:
    by_number = {field.number: field for field in new.field}
    by_name = {field.name: field for field in new.field}
    for field in old.field:
        now = by_number.get(field.number)
        if now is None:
            moved = by_name.get(field.name)
            fate = f"has number {moved.number} instead of {field.number}" if moved else f"({field.number}) is gone"
            yield f"{name}.{field.name} {fate}"
        elif now.name != field.name:
            yield f"{name}.{field.name} ({field.number}) is called {now.name}"
        elif _shape(field, old) != _shape(now, new):
            yield f"{name}.{field.name} is {_shape(now, new)} instead of {_shape(field, old)}"
    yield from _topic_breaks(name, old, new)


def _shape(field: FieldDescriptorProto, message: DescriptorProto) -> str:
    """Describe what a peer must agree on: label, type and the oneof a field is in."""
    kind = field.type_name.lstrip(".") or TYPES.Name(field.type).removeprefix("TYPE_").lower()
    label = "repeated " if field.label == LABELS.LABEL_REPEATED else "optional " if field.proto3_optional else ""
    in_oneof = field.HasField("oneof_index") and not field.proto3_optional
    return f"{label}{kind}" + (f" in oneof {message.oneof_decl[field.oneof_index].name}" if in_oneof else "")


def _topic_breaks(name: str, old: DescriptorProto, new: DescriptorProto) -> Iterator[str]:
    if not old.options.HasExtension(TOPIC):
        return
    before, after = old.options.Extensions[TOPIC], new.options.Extensions[TOPIC]
    for what in ("name", "cleanup_policy", "type"):
        if getattr(before, what) != getattr(after, what):
            yield f"topic of {name}: {what} is {getattr(after, what)!r} instead of {getattr(before, what)!r}"
    if after.partitions < before.partitions:
        yield f"topic of {name}: {after.partitions} partitions instead of {before.partitions}"


def _enum_breaks(name: str, old: EnumDescriptorProto, new: EnumDescriptorProto) -> Iterator[str]:
    now = {value.name: value.number for value in new.value}
    for value in old.value:
        if value.name not in now:
            yield f"{name}.{value.name} is gone"
        elif now[value.name] != value.number:
            yield f"{name}.{value.name} has number {now[value.name]} instead of {value.number}"


def _service_breaks(name: str, old: ServiceDescriptorProto, new: ServiceDescriptorProto) -> Iterator[str]:
    now = {method.name: method for method in new.method}
    for method in old.method:
        other = now.get(method.name)
        if other is None:
            yield f"rpc {name}/{method.name} is gone"
            continue
        for what in ("input_type", "output_type", "client_streaming", "server_streaming"):
            if getattr(other, what) != getattr(method, what):
                yield f"rpc {name}/{method.name}: {what} is {getattr(other, what)} instead of {getattr(method, what)}"


def contract_in(folder: Path) -> FileDescriptorSet:
    """Return the whole contract in a protos folder, the Open Inference Protocol included."""
    found = descriptor_set(sources(folder), folder)
    if oip := oip_sources(folder):
        found.file.extend(descriptor_set(oip, folder).file)
    return found


def baseline() -> str | None:
    """Return the commit to compare with: main's last one, or the one before it when that is what we stand on."""
    for ref in ("origin/main", "main"):
        commit = _git("rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")
        if commit and (commit != _git("rev-parse", "HEAD") or _git("status", "--porcelain", "--", "protos")):
            return commit
    return _git("rev-parse", "--verify", "--quiet", "HEAD~1^{commit}") or None


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def contract_at(commit: str) -> FileDescriptorSet | None:
    """Return the contract as of a commit; None when it had none."""
    packed = subprocess.run(["git", "archive", commit, "protos"], cwd=ROOT, capture_output=True, check=False)
    if packed.returncode:
        return None
    with tempfile.TemporaryDirectory() as work:
        with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
            archive.extractall(work, filter="data")
        return contract_in(Path(work) / "protos")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", help="commit to compare with (default: see above)")
    commit = parser.parse_args().against or baseline()
    old = contract_at(commit) if commit else None
    if commit is None or old is None:
        print("contract: no earlier commit to compare with")
        return
    lines = breaks(old, contract_in(ROOT / "protos"))
    for line in lines:
        print(line)
    if lines:
        sys.exit(f"the contract breaks with {commit[:12]}: add beside the old thing instead, or make it a new version")
    print(f"contract: compatible with {commit[:12]}")


if __name__ == "__main__":
    main()
