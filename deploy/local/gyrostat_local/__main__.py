"""`python -m gyrostat_local up|down|status`: what `make up`, `make down` and `make status` run."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from gyrostat_common.errors import GyrostatError
from gyrostat_local.plan import KAFKA, ROOT, SERVICES, STATE
from gyrostat_local.readiness import NotReady
from gyrostat_local.system import LocalSystem

CURRENT = ROOT / "build" / "up"


def main() -> None:
    """Run one of the three commands; exit code 0 when it did what it says."""
    parser = argparse.ArgumentParser(prog="python -m gyrostat_local", description=__doc__)
    parser.add_argument("command", choices=["up", "down", "status"])
    parser.add_argument("--folder", type=Path, help="data folder (default: data; down, status: the one last started)")
    parser.add_argument("--ports", choices=["default", "free"], default="default", help="free: any that is free")
    arguments = parser.parse_args()
    folder = find_folder(arguments.folder)
    if arguments.command == "up":
        code = asyncio.run(up(folder, arguments.ports))
    elif arguments.command == "down":
        code = asyncio.run(down(folder))
    else:
        code = asyncio.run(status(folder))
    sys.exit(code)


def find_folder(given: Path | None) -> Path:
    """Return the data folder: as given, or the one below it that holds a saved state, or the one last started."""
    if given is None:
        return Path(CURRENT.read_text().strip()) if CURRENT.exists() else ROOT / "data"
    below = [state.parent for state in given.glob(f"*/{STATE}")]
    return below[0].absolute() if not (given / STATE).exists() and len(below) == 1 else given.absolute()


async def up(folder: Path, ports: str) -> int:
    """Start what does not run and print the table."""
    system = LocalSystem.running(folder)
    if system is None:
        system = LocalSystem(folder, "free" if ports == "free" else "default", tethered=False)
        try:
            await system.up()
        except (NotReady, GyrostatError) as error:
            print(f"not started: {error}", file=sys.stderr)
            return 1
        CURRENT.parent.mkdir(exist_ok=True)
        CURRENT.write_text(str(folder))
    await show(system)
    return 0


async def down(folder: Path) -> int:
    """Stop what runs."""
    system = LocalSystem.running(folder)
    if system is None:
        print(f"nothing runs in {folder}")
        return 0
    names = ", ".join(system.processes)
    await system.down()
    print(f"stopped: {names}; the data stays in {folder}")
    return 0


async def status(folder: Path) -> int:
    """Print the table; exit code 1 when something does not serve, or is alarmed."""
    system = LocalSystem.running(folder)
    if system is None:
        print(f"nothing runs in {folder}: `make up` starts it")
        return 1
    return 0 if await show(system) else 1


async def show(system: LocalSystem) -> bool:
    """Print service, address, health and data folder, and what is wrong; return whether all serve without an alarm."""
    table = Table("service", "address", "health", "data folder")
    names = (KAFKA, *SERVICES)
    standings = dict(zip(names, await asyncio.gather(*(system.standing(name) for name in names)), strict=True))
    for name in names:
        ours = name in system.processes or name in SERVICES
        rest = f", REST {system.rest_address()}" if name == "inference" and system.rest_address() else ""
        table.add_row(
            name, system.address(name) + rest, standings[name][0], str(system.folder / name) if ours else "(elsewhere)"
        )
    console = Console()
    console.print(table)
    for name, (_, why) in standings.items():
        if why:
            console.print(f"{name}: {why}", markup=False, highlight=False, soft_wrap=True)
    return all(word == "SERVING" for word, _ in standings.values())


if __name__ == "__main__":
    main()
