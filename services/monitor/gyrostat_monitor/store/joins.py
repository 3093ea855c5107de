"""The join's memory: answers within the label horizon, outcomes, and the two other names of a prediction.

One compact row per answer: sixteen bytes of id, row, version, role, event time, score. Bulk statements only.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from sqlalchemy import bindparam, delete, func, select, tuple_, update

from gyrostat_common import database
from gyrostat_common.database import Database
from gyrostat_monitor.domain.joins import Answer, Key, Label
from gyrostat_monitor.domain.outcomes import Outcome, Ref
from gyrostat_monitor.store import bodies, tables

AT_ONCE = 400
PARKED, JOINED, EXPIRED = "parked", "joined", "expired"


class Joins:
    """One per database. Writing methods are for the inside of a transaction."""

    def __init__(self, database: Database) -> None:
        self._db = database

    # Answers

    async def add_answers(self, model: str, answers: Sequence[Mapping[str, Any]]) -> None:
        """Rows with id, row, version, role, event_us, score, vector; a row that is there already stays."""
        if not answers:
            return
        async with self._db.reading() as tx:
            insert = database.insert(tx, tables.answers).on_conflict_do_nothing()
            await tx.execute(insert, [{"model": model, "counted": None, **row} for row in answers])

    async def answers(self, model: str, keys: Iterable[Key]) -> list[Answer]:
        """Every version's answers to these predictions of a model."""
        wanted = set(keys)
        found: list[Answer] = []
        ids = sorted({key[0] for key in wanted})
        async with self._db.reading() as tx:
            a = tables.answers
            for start in range(0, len(ids), AT_ONCE):
                query = select(a).where(a.c.id.in_(ids[start : start + AT_ONCE]), a.c.model == model)
                found.extend(_answer(r) for r in await tx.execute(query) if (bytes(r.id), r.row) in wanted)
        return found

    async def scored(self, model: str, ids: Iterable[bytes]) -> list[tuple[Key, int, int]]:
        """(prediction, version, role) of everything that is kept under these ids, whatever the row."""
        wanted = sorted(set(ids))
        found: list[tuple[Key, int, int]] = []
        async with self._db.reading() as tx:
            a = tables.answers
            for start in range(0, len(wanted), AT_ONCE):
                query = select(a.c.id, a.c.row, a.c.version, a.c.role).where(
                    a.c.id.in_(wanted[start : start + AT_ONCE]), a.c.model == model
                )
                found.extend(((bytes(r.id), r.row), r.version, r.role) for r in await tx.execute(query))
        return found

    async def answers_of(self, model: str, version: int, from_us: int) -> list[Key]:
        """Predictions that a version scored since an event time."""
        async with self._db.reading() as tx:
            a = tables.answers
            query = select(a.c.id, a.c.row).where(a.c.model == model, a.c.event_us >= from_us, a.c.version == version)
            return [(bytes(r.id), r.row) for r in await tx.execute(query)]

    async def save_labels(self, model: str, answers: Sequence[Answer], uniform: frozenset[Key]) -> None:
        """What each answer is counted with now. `uniform`: predictions all of whose answers have the same label, so
        that one statement row does for all of them.
        """
        a = tables.answers
        together = {x.key: _label_text(x.counted) for x in answers if x.key in uniform}
        apart = [
            {
                "k_id": x.key[0],
                "k_row": x.key[1],
                "k_version": x.version,
                "k_role": x.role,
                "label": _label_text(x.counted),
            }
            for x in answers
            if x.key not in uniform
        ]
        whole = [{"k_id": key[0], "k_row": key[1], "label": label} for key, label in together.items()]
        row = (a.c.id == bindparam("k_id")) & (a.c.row == bindparam("k_row")) & (a.c.model == model)
        one = row & (a.c.version == bindparam("k_version")) & (a.c.role == bindparam("k_role"))
        async with self._db.reading() as tx:
            for where, rows in ((row, whole), (one, apart)):
                if rows:
                    await tx.execute(update(a).where(where).values(counted=bindparam("label")), rows)

    async def forget_answers(self, model: str, before_us: int) -> None:
        """Drops what lies beyond the label horizon."""
        async with self._db.reading() as tx:
            for table in (tables.answers, tables.by_request, tables.by_entity):
                await tx.execute(delete(table).where(table.c.model == model, table.c.event_us < before_us))

    # Outcomes

    async def fresh(self, outcomes: Sequence[Outcome], source: str) -> list[Outcome]:
        """Those of an event source that come for the first time, each event id once."""
        first = {o.event_id: o for o in reversed(outcomes)}
        ids = list(first)
        async with self._db.reading() as tx:
            t = tables.outcomes
            for start in range(0, len(ids), AT_ONCE):
                part = ids[start : start + AT_ONCE]
                query = select(t.c.event_id).where(t.c.event_source == source, t.c.event_id.in_(part))
                for (seen,) in await tx.execute(query):
                    first.pop(seen, None)
        return [o for o in outcomes if first.get(o.event_id) is o]

    async def add_outcomes(self, outcomes: Sequence[tuple[Outcome, int | None]]) -> None:
        """(outcome, event time of its prediction when it is there: joined; else None: parked)."""
        rows = []
        for outcome, event_us in outcomes:
            row = _outcome_row(outcome)
            if event_us is not None:
                row |= {"state": JOINED, "event_us": event_us}
            rows.append(row)
        if rows:
            async with self._db.reading() as tx:
                await tx.execute(tables.outcomes.insert(), rows)

    async def outcomes(self, model: str, keys: Iterable[Key]) -> dict[Key, list[Outcome]]:
        """Outcomes of these predictions of a model, joined or parked by id."""
        wanted = set(keys)
        found: dict[Key, list[Outcome]] = {}
        ids = sorted({key[0] for key in wanted})
        async with self._db.reading() as tx:
            t = tables.outcomes
            for start in range(0, len(ids), AT_ONCE):
                part = ids[start : start + AT_ONCE]
                query = select(t).where(t.c.id.in_(part), t.c.model == model, t.c.state != EXPIRED)
                for r in await tx.execute(query):
                    key = (bytes(r.id), r.id_row)
                    if key in wanted:
                        found.setdefault(key, []).append(_outcome(r))
        return found

    async def outcomes_by_ref(self, model: str, refs: Iterable[str]) -> list[Outcome]:
        """Outcomes of a model that name their prediction so."""
        async with self._db.reading() as tx:
            t, texts = tables.outcomes, sorted(set(refs))
            out: list[Outcome] = []
            for start in range(0, len(texts), AT_ONCE):
                part = texts[start : start + AT_ONCE]
                query = select(t).where(t.c.ref.in_(part), t.c.model == model, t.c.state != EXPIRED)
                out.extend(_outcome(r) for r in await tx.execute(query))
            return out

    async def parked_by_name(self, model: str, prefix: str, limit: int = 5_000) -> list[Outcome]:
        """Parked outcomes whose name begins so ("entity:", "request:"), oldest first."""
        async with self._db.reading() as tx:
            t = tables.outcomes
            query = select(t).where(t.c.model == model, t.c.state == PARKED, t.c.ref.startswith(prefix))
            return [_outcome(r) for r in await tx.execute(query.order_by(t.c.observed_us).limit(limit))]

    async def settle(self, outcomes: Iterable[tuple[Outcome, Key, int]]) -> None:
        """Joined: these outcomes belong to these predictions of that event time."""
        t = tables.outcomes
        rows = [
            {"k_source": o.event_source, "k_event": o.event_id, "k_id": key[0], "k_row": key[1], "k_at": at}
            for o, key, at in outcomes
        ]
        if not rows:
            return
        async with self._db.reading() as tx:
            its = (t.c.event_id == bindparam("k_event")) & (t.c.event_source == bindparam("k_source"))
            statement = update(t).where(its)
            values = {
                "state": JOINED,
                "id": bindparam("k_id"),
                "id_row": bindparam("k_row"),
                "event_us": bindparam("k_at"),
            }
            await tx.execute(statement.values(**values), rows)

    async def expire(self, model: str, observed_before_us: int) -> int:
        """Gives up parked outcomes observed before that event time."""
        async with self._db.reading() as tx:
            t = tables.outcomes
            where = (t.c.model == model) & (t.c.state == PARKED) & (t.c.observed_us < observed_before_us)
            return int((await tx.execute(t.update().where(where).values(state=EXPIRED))).rowcount)

    async def forget_outcomes(self, model: str, observed_before_us: int) -> None:
        """Drops old outcomes that are settled; the archive keeps them all."""
        async with self._db.reading() as tx:
            t = tables.outcomes
            await tx.execute(
                delete(t).where(t.c.model == model, t.c.state != PARKED, t.c.observed_us < observed_before_us)
            )

    async def parked(self, model: str) -> int:
        """Outcomes that wait."""
        async with self._db.reading() as tx:
            t = tables.outcomes
            query = select(func.count()).select_from(t).where(t.c.model == model, t.c.state == PARKED)
            return int((await tx.execute(query)).scalar_one())

    # The two other names

    async def add_requests(self, model: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Rows with request, row, id, id_row, arrival_us, event_us: the last answer to a request id counts."""
        if not rows:
            return
        async with self._db.reading() as tx:
            insert = database.insert(tx, tables.by_request)
            names = ("id", "id_row", "arrival_us", "event_us")
            statement = insert.on_conflict_do_update(
                index_elements=["model", "request", "row"], set_={n: insert.excluded[n] for n in names},
                where=tables.by_request.c.arrival_us <= insert.excluded.arrival_us,
            )  # fmt: skip
            await tx.execute(statement, [{"model": model, **row} for row in rows])

    async def requests(self, model: str, names: Iterable[tuple[str, int]]) -> dict[tuple[str, int], tuple[Key, int]]:
        """(request id, row) → prediction and its event time."""
        wanted, out = sorted(set(names)), {}
        async with self._db.reading() as tx:
            b = tables.by_request
            for start in range(0, len(wanted), AT_ONCE):
                part = wanted[start : start + AT_ONCE]
                query = select(b).where(b.c.model == model, tuple_(b.c.request, b.c.row).in_(part))
                for r in await tx.execute(query):
                    out[r.request, r.row] = ((bytes(r.id), r.id_row), r.event_us)
        return out

    async def add_entities(self, model: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Rows with entity, event_us, id, id_row."""
        if not rows:
            return
        async with self._db.reading() as tx:
            insert = database.insert(tx, tables.by_entity).on_conflict_do_nothing()
            await tx.execute(insert, [{"model": model, **row} for row in rows])

    async def entity(self, model: str, entity: str, at_us: int, from_us: int) -> tuple[Key, int] | None:
        """The last prediction for an entity in [from, at], and its event time."""
        async with self._db.reading() as tx:
            b = tables.by_entity
            query = (
                select(b)
                .where(b.c.model == model, b.c.entity == entity, b.c.event_us <= at_us, b.c.event_us >= from_us)
                .order_by(b.c.event_us.desc(), b.c.id.desc(), b.c.id_row.desc())
                .limit(1)
            )
            row = (await tx.execute(query)).first()
            return ((bytes(row.id), row.id_row), row.event_us) if row else None

    # For the archive

    async def add_resolutions(self, model: str, outcomes: Sequence[tuple[Outcome, Key, int]]) -> None:
        """Outcomes named otherwise that found their prediction: the archive gets a row with its id."""
        rows = [
            {
                "model": model,
                "body": bodies.dumps({**_outcome_row(o), "id": k[0].hex(), "id_row": k[1], "event_us": at}),
            }
            for o, k, at in outcomes
        ]
        if rows:
            async with self._db.reading() as tx:
                await tx.execute(tables.resolutions.insert(), rows)

    async def resolutions(self, model: str, after: int, limit: int = 10_000) -> list[tuple[int, Outcome]]:
        """Numbered resolutions after a number, each with its prediction as its name."""
        async with self._db.reading() as tx:
            t = tables.resolutions
            query = select(t).where(t.c.model == model, t.c.number > after).order_by(t.c.number).limit(limit)
            out = []
            for r in await tx.execute(query):
                body = json.loads(r.body)
                ref = Ref(prediction=(bytes.fromhex(body["id"]), body["id_row"]))
                out.append((r.number, _from_row(body, ref)))
            return out

    async def resolved_models(self) -> list[str]:
        """Models with resolutions."""
        async with self._db.reading() as tx:
            return sorted(r[0] for r in await tx.execute(select(tables.resolutions.c.model).distinct()))


def _answer(r: Any) -> Answer:
    vector = None if r.vector is None else tuple(np.frombuffer(r.vector, "<f4").astype(float).tolist())
    counted = Label(*json.loads(r.counted)) if r.counted else None
    score = float("nan") if r.score is None else r.score
    return Answer((bytes(r.id), r.row), r.version, r.role, r.event_us, score, vector, counted)


def _label_text(label: Label | None) -> str | None:
    return None if label is None else json.dumps([label.value, label.weight, label.lag_s])


def _outcome_row(o: Outcome) -> dict[str, Any]:
    known = o.ref.prediction
    return {
        "event_source": o.event_source, "event_id": o.event_id, "model": o.model, "ref": o.ref.text,
        "id": known[0] if known else None, "id_row": known[1] if known else None, "value": o.value, "weight": o.weight,
        "observed_us": o.observed_us, "recorded_us": o.recorded_us, "ingested_us": o.ingested_us, "source": o.source,
        "state": PARKED, "event_us": None,
    }  # fmt: skip


def _outcome(r: Any) -> Outcome:
    kind, _, rest = r.ref.partition(":")
    if kind == "id":
        ref = Ref(prediction=(bytes(r.id), r.id_row))
    elif kind == "request":
        name, _, row = rest.rpartition("/")
        ref = Ref(request=(name, int(row)))
    else:
        name, _, at = rest.rpartition("@")
        ref = Ref(entity=(name, int(at)))
    joined = (bytes(r.id), r.id_row) if r.state == JOINED else None
    return replace(_from_row(r._mapping, ref), joined=joined)


def _from_row(r: Mapping[str, Any], ref: Ref) -> Outcome:
    return Outcome(
        r["event_id"], r["model"], ref, r["value"], r["observed_us"], r["recorded_us"], r["ingested_us"], r["source"],
        r["weight"], event_source=r["event_source"],
    )  # fmt: skip
