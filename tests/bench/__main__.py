"""`make bench [ARGS="PART… OPTION…"]`: the serving page, or another bench by its name; `ARGS=--list` lists them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SERVING, PEERS = "serving", "peers"


def others() -> dict[str, Path]:
    """The benches that are programs of their own, by name."""
    found = {path.stem.removeprefix("bench_"): path for path in sorted(HERE.glob("bench_*.py"))}
    return {name: path for name, path in found.items() if name not in (SERVING, PEERS)}


def main() -> None:
    """Becomes the program that was asked for."""
    given = sys.argv[1:]
    if "--list" in given:
        print("serving (the default): w1 w1-columns w2 w3 w4 streaming swaps cold-start memory workers models profile")
        print(f"others, one at a time: {' '.join(others())}")
        return
    program = HERE / f"bench_{SERVING}.py"
    if given and given[0] in others():
        program, given = others()[given[0]], given[1:]
    os.execv(sys.executable, [sys.executable, str(program), *given])


if __name__ == "__main__":
    main()
