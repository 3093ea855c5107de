"""One target of `front_targets` under atheris: inputs that reach new branches are kept and changed further.

`guided.py TARGET --seconds 10 --seed 7 [--corpus FOLDER]` prints how many inputs it tried and ends with 0; at the first
that is a bug it prints the error and the input, and how to try that one again (`--input HEX`).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import traceback
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

try:
    import atheris
except ImportError:
    sys.exit("atheris is missing: it is installed on Linux x86-64 alone (docs/adr/0155-…)")

with atheris.instrument_imports(include=["gyrostat_front"]):
    from fuzz.front_targets import TARGETS, WORDS

LONGEST_BYTES = 65_536
LONGEST_S = 20
ROOM_MEGABYTES = 1024


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--seed", default="0")
    parser.add_argument("--corpus", type=Path, help="where inputs that lead further are kept, and read again")
    parser.add_argument("--input", help="try this one alone, as hex")
    return parser.parse_args()


def quoted(word: bytes) -> str:
    """A line of libFuzzer's dictionary."""
    return '"' + "".join(f"\\x{byte:02x}" for byte in word) + '"'


def main() -> None:
    """Fuzz until the time is over; atheris ends the process."""
    args = arguments()
    target, seeds = TARGETS[args.target]

    def one(given: bytes) -> None:
        try:
            target(given)
        except BaseException:
            traceback.print_exc()
            print(f"guided.py {args.target} --input {given.hex()}\n{given!r}", file=sys.stderr, flush=True)
            raise

    if args.input is not None:
        one(bytes.fromhex(args.input))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "seeds").mkdir()
        for number, seed in enumerate(seeds()):
            one(seed)
            (folder / "seeds" / str(number)).write_bytes(seed)
        (folder / "words").write_text("\n".join(map(quoted, WORDS)) + "\n")
        kept = args.corpus or folder / "kept"
        kept.mkdir(parents=True, exist_ok=True)
        options = [
            f"-max_total_time={max(1, round(args.seconds))}", f"-seed={zlib.crc32(args.seed.encode()) or 1}",
            f"-max_len={LONGEST_BYTES}", f"-timeout={LONGEST_S}", f"-rss_limit_mb={ROOM_MEGABYTES}",
            f"-dict={folder / 'words'}", f"-artifact_prefix={folder}/", "-print_final_stats=1", "-verbosity=1",
        ]  # fmt: skip
        atheris.Setup([sys.argv[0], *options, str(kept), str(folder / "seeds")], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
