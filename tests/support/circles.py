"""What only the garbage collector would find: it looks seldom, and what hangs on it stays so long."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def left_in_circles(kind: type) -> Iterator[list[object]]:
    """The list holds, after the block, the instances of `kind` that were still there and that nobody reached."""
    found: list[object] = []
    gc.collect()
    gc.disable()
    try:
        yield found
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found += [one for one in gc.garbage if isinstance(one, kind)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
