#!/usr/bin/env python3
"""Check the habits of CONTRIBUTING.md that ruff has no rule for: how big things are, what they are called, and that
whoever catches everything and goes on says why.

python tools/habits.py [FILE…]    exit 1 with a line per fault; without files, all that git tracks
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GENERATED = "protos/gyrostat/"
MODULE_LINES = 400
FUNCTION_LINES = 40
COLLABORATORS = 6
# Names that say that something is there, and not what.
EMPTY_NAMES = {"util", "utils", "helper", "helpers", "manager", "base", "impl", "data", "info", "handler2"}


def faults(name: str, source: str) -> Iterator[str]:
    """One line per fault of the module `name`, a path from the root of the repository."""
    lines = source.splitlines()
    if len(lines) > MODULE_LINES:
        yield f"{name}:1: {len(lines)} lines; at most {MODULE_LINES}: split it by concept"
    for part in Path(name).with_suffix("").parts:
        if _last_word(part) in EMPTY_NAMES:
            yield f"{name}:1: '{part}' does not say what is in it"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from (f"{name}:{node.lineno}: {fault}" for fault in _function(node))
        elif isinstance(node, ast.ClassDef) and _last_word(node.name) in EMPTY_NAMES:
            yield f"{name}:{node.lineno}: '{node.name}' does not say what it is"
        elif isinstance(node, ast.ExceptHandler) and _catches_all(node) and not _has_reason(node, lines):
            yield f"{name}:{node.lineno}: catches everything, goes on, and no comment says why"


def _function(node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    size = (node.end_lineno or node.lineno) - node.lineno + 1
    if size > FUNCTION_LINES:
        yield f"{node.name} has {size} lines; at most {FUNCTION_LINES}"
    given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs][1:]
    if node.name == "__init__" and len(given) > COLLABORATORS:
        yield f"a constructor with {len(given)} collaborators; at most {COLLABORATORS}"


def _last_word(name: str) -> str:
    """The last word of a name in snake_case or CamelCase, in small letters."""
    words: list[str] = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+", name)
    return words[-1].lower() if words else ""


def _catches_all(node: ast.ExceptHandler) -> bool:
    return node.type is None or (isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException"))


def _has_reason(node: ast.ExceptHandler, lines: list[str]) -> bool:
    """It goes on as an error; or a comment stands beside the `except` or its first statement, or between them."""
    raised = isinstance(node.body[-1], ast.Raise)
    return raised or any("  # " in line for line in lines[node.lineno - 1 : node.body[0].lineno])


def _tracked() -> list[str]:
    names = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [name for name in names.splitlines() if not name.startswith(GENERATED) and (ROOT / name).exists()]


def main() -> None:
    """Run the command line."""
    names = sys.argv[1:] or _tracked()
    found = [fault for name in names for fault in faults(name, (ROOT / name).read_text())]
    sys.exit("\n".join(found) if found else 0)


if __name__ == "__main__":
    main()
