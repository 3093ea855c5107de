"""Rows on which the trained model and the exported graph must agree.

Ordinary ones, and the ones where exports go wrong.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from gyrostat_trainer.engine.rows import text_columns

ORDINARY_ROWS = 6_000
CRAFTED_BASES = 20
UNSEEN = "\u2205 never seen"
EXTREMES = (0.0, -0.0, 1e-38, -1e30, 1e30, float("-inf"), float("inf"), 3.4e38, -3.4e38)


def rows(proof: pa.Table, fit: pa.Table, inputs: Sequence[str]) -> pa.Table:
    """Held-out rows evenly over time (older ones when they are few), then each input missing, unseen and extreme."""
    ordinary = _evenly(proof.select(list(inputs)), ORDINARY_ROWS)
    if ordinary.num_rows < ORDINARY_ROWS:
        older = _evenly(fit.select(list(inputs)), ORDINARY_ROWS - ordinary.num_rows)
        ordinary = pa.concat_tables([ordinary, older])
    bases = _evenly(ordinary, CRAFTED_BASES)
    texts = set(text_columns(proof, inputs))
    pieces = [ordinary]
    for name in inputs:
        values: tuple[object, ...] = ("", UNSEEN) if name in texts else (float("nan"), *EXTREMES)
        pieces += [_with(bases, name, value) for value in values]
    nothing = bases
    for name in inputs:
        nothing = _with(nothing, name, "" if name in texts else float("nan"))
    return pa.concat_tables([*pieces, nothing.slice(0, 1)]).combine_chunks()


def _evenly(table: pa.Table, wanted: int) -> pa.Table:
    if table.num_rows <= wanted:
        return table
    return table.take(pa.array(np.linspace(0, table.num_rows - 1, wanted).astype(np.int64)))


def _with(table: pa.Table, name: str, value: object) -> pa.Table:
    field = table.schema.field(name)
    return table.set_column(table.schema.get_field_index(name), field, pa.array([value] * table.num_rows, field.type))
