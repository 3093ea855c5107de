"""What is remembered of roll-outs, plans, promotions, autopilot switches and watermarks."""

from datetime import datetime

from sqlalchemy import and_, func, insert, or_, select

from gyrostat_common.database import insert as insert_or
from gyrostat_common.times import from_us, to_us
from gyrostat_registry.domain.evidence import Promotion
from gyrostat_registry.domain.paging import Listed, Page
from gyrostat_registry.domain.plan import Plan
from gyrostat_registry.domain.rollout import ACTIVE, OVER, QUEUED, Rollout, State
from gyrostat_registry.domain.spec import Mode
from gyrostat_registry.store.connection import OnConnection, listed
from gyrostat_registry.store.documents import dumped, loaded
from gyrostat_registry.store.tables import plans, promotions, rollouts, switches, watermarks


class Live(OnConnection):
    """Rows that say what is live and how it came to be."""

    async def save_rollout(self, rollout: Rollout) -> None:
        """Adds or replaces. At most one per model and environment is at work, and one in the queue."""
        row = {
            "id": rollout.id, "environment": rollout.environment, "model": rollout.model, "version": rollout.version,
            "state": str(rollout.state), "body": dumped(rollout),
        }  # fmt: skip
        put = insert_or(self._tx, rollouts).values(row)
        changed = {"state": row["state"], "body": row["body"]}
        await self._tx.execute(put.on_conflict_do_update(index_elements=["id"], set_=changed))

    async def rollout(self, rollout_id: str) -> Rollout | None:
        """The roll-out, if there is one of that id."""
        body = (await self._tx.execute(select(rollouts.c.body).where(rollouts.c.id == rollout_id))).scalar()
        return None if body is None else loaded(Rollout, body)

    async def active_rollout(self, environment: str, model: str) -> Rollout | None:
        """The one in shadow, canary or guard."""
        return await self._one_in(environment, model, ACTIVE)

    async def queued_rollout(self, environment: str, model: str) -> Rollout | None:
        """The one that is proposed or waiting."""
        return await self._one_in(environment, model, QUEUED)

    async def _one_in(self, environment: str, model: str, states: frozenset[State]) -> Rollout | None:
        query = select(rollouts.c.body).where(
            rollouts.c.environment == environment, rollouts.c.model == model, rollouts.c.state.in_(sorted(states))
        )
        body = (await self._tx.execute(query)).scalar()
        return None if body is None else loaded(Rollout, body)

    async def rollouts(self, model: str, open_only: bool, page: Page) -> Listed[Rollout]:
        """Newest first, of one model or of all ("")."""
        query = select(rollouts).order_by(rollouts.c.number.desc())
        if model:
            query = query.where(rollouts.c.model == model)
        if open_only:
            query = query.where(rollouts.c.state.not_in(sorted(OVER)))
        if page.after_number is not None:
            query = query.where(rollouts.c.number < page.after_number)
        rows = (await self._tx.execute(query.limit(page.size + 1))).all()
        return listed(rows, page, lambda row: loaded(Rollout, row.body), lambda row: str(row.number))

    async def rollouts_of(self, model: str, version: int) -> tuple[Rollout, ...]:
        """All of one version, oldest first."""
        query = select(rollouts.c.body).where(rollouts.c.model == model, rollouts.c.version == version)
        bodies = (await self._tx.execute(query.order_by(rollouts.c.number))).scalars()
        return tuple(loaded(Rollout, body) for body in bodies)

    async def rolled_back(self, model: str) -> dict[int, str]:
        """Version → why it was taken back, of every version that was."""
        query = select(rollouts.c.version, rollouts.c.body).where(
            rollouts.c.model == model, rollouts.c.state == str(State.ROLLED_BACK)
        )
        rows = await self._tx.execute(query.order_by(rollouts.c.number))
        found = {int(row.version): loaded(Rollout, row.body) for row in rows}
        return {number: f"rolled back: {rollout.steps[-1].reason}" for number, rollout in found.items()}

    async def open_rollouts(self) -> tuple[Rollout, ...]:
        """Every one that is not over, of all models."""
        query = select(rollouts.c.body).where(rollouts.c.state.not_in(sorted(OVER))).order_by(rollouts.c.number)
        return tuple(loaded(Rollout, body) for body in (await self._tx.execute(query)).scalars())

    async def add_plan(self, plan: Plan) -> None:
        """A new revision; one that is there already cannot be replaced."""
        row = {
            "environment": plan.environment, "model": plan.model, "revision": plan.revision,
            "made_at_us": to_us(plan.made_at), "body": dumped(plan),
        }  # fmt: skip
        await self._tx.execute(insert(plans).values(row))

    async def plan(self, environment: str, model: str, at: datetime | None = None) -> Plan | None:
        """The plan in force now, or at a wall time."""
        query = select(plans.c.body).where(plans.c.environment == environment, plans.c.model == model)
        if at is not None:
            query = query.where(plans.c.made_at_us <= to_us(at))
        body = (await self._tx.execute(query.order_by(plans.c.revision.desc()).limit(1))).scalar()
        return None if body is None else loaded(Plan, body)

    async def plans_in_force(self, environment: str, page: Page) -> Listed[Plan]:
        """The newest revision of every model of an environment, by model."""
        newest = (
            select(plans.c.model, func.max(plans.c.revision).label("revision"))
            .where(plans.c.environment == environment, plans.c.model > page.after)
            .group_by(plans.c.model)
            .subquery()
        )
        here = and_(
            plans.c.environment == environment, plans.c.model == newest.c.model, plans.c.revision == newest.c.revision
        )
        query = select(plans).join(newest, here).order_by(plans.c.model).limit(page.size + 1)
        rows = (await self._tx.execute(query)).all()
        return listed(rows, page, lambda row: loaded(Plan, row.body), lambda row: str(row.model))

    async def revisions(self) -> dict[tuple[str, str], int]:
        """(environment, model) → revision in force, of all."""
        query = select(plans.c.environment, plans.c.model, func.max(plans.c.revision).label("revision"))
        rows = await self._tx.execute(query.group_by(plans.c.environment, plans.c.model))
        return {(row.environment, row.model): int(row.revision) for row in rows}

    async def plans_between(self, environment: str, model: str, above: int, up_to: int) -> tuple[Plan, ...]:
        """The revisions in (above, up_to], oldest first."""
        query = select(plans.c.body).where(
            plans.c.environment == environment,
            plans.c.model == model,
            plans.c.revision > above,
            plans.c.revision <= up_to,
        )
        return tuple(
            loaded(Plan, body) for body in (await self._tx.execute(query.order_by(plans.c.revision))).scalars()
        )

    async def plan_history(self, environment: str, model: str, page: Page) -> Listed[Plan]:
        """All revisions of one model, newest first."""
        query = select(plans).where(plans.c.environment == environment, plans.c.model == model)
        if page.after_number is not None:
            query = query.where(plans.c.revision < page.after_number)
        rows = (await self._tx.execute(query.order_by(plans.c.revision.desc()).limit(page.size + 1))).all()
        return listed(rows, page, lambda row: loaded(Plan, row.body), lambda row: str(row.revision))

    async def plans_of(self, model: str) -> tuple[Plan, ...]:
        """The plan in force of one model in every environment that has one."""
        places = select(plans.c.environment).where(plans.c.model == model).distinct().order_by(plans.c.environment)
        found = [
            await self.plan(environment, model) for environment in (await self._tx.execute(places)).scalars().all()
        ]
        return tuple(plan for plan in found if plan is not None)

    async def add_promotion(self, promotion: Promotion) -> None:
        """A change of champion."""
        row = {
            "environment": promotion.environment, "model": promotion.model,
            "version_before": promotion.version_before, "version_after": promotion.version_after,
            "automatic": promotion.automatic, "body": dumped(promotion),
        }  # fmt: skip
        await self._tx.execute(insert(promotions).values(row))

    async def promotions_of(self, model: str, version: int) -> tuple[Promotion, ...]:
        """Every change of champion that a version was part of, newest first."""
        part = or_(promotions.c.version_before == version, promotions.c.version_after == version)
        query = select(promotions.c.body).where(promotions.c.model == model, part).order_by(promotions.c.number.desc())
        return tuple(loaded(Promotion, body) for body in (await self._tx.execute(query)).scalars())

    async def automatic_promotions(self, environment: str, model: str, most: int) -> tuple[Promotion, ...]:
        """The newest `most` automatic ones."""
        query = select(promotions.c.body).where(
            promotions.c.environment == environment, promotions.c.model == model, promotions.c.automatic.is_(True)
        )
        newest = (await self._tx.execute(query.order_by(promotions.c.number.desc()).limit(most))).scalars()
        return tuple(loaded(Promotion, body) for body in newest)

    async def champions_ever(self, model: str) -> dict[int, Promotion]:
        """Version → the newest change of champion that it was part of, of every version that was ever part of one."""
        query = select(promotions.c.body).where(promotions.c.model == model).order_by(promotions.c.number)
        found: dict[int, Promotion] = {}
        for body in (await self._tx.execute(query)).scalars():
            promotion = loaded(Promotion, body)
            found.update(
                {number: promotion for number in (promotion.version_before, promotion.version_after) if number}
            )
        return found

    async def switch(self) -> Mode:
        """Autopilot for all models; on until somebody narrows it."""
        mode = (await self._tx.execute(select(switches.c.mode).where(switches.c.name == "autopilot"))).scalar()
        return Mode.ON if mode is None else Mode(mode)

    async def save_switch(self, mode: Mode) -> None:
        """Sets autopilot for all models."""
        put = insert_or(self._tx, switches).values(name="autopilot", mode=str(mode))
        await self._tx.execute(put.on_conflict_do_update(index_elements=["name"], set_={"mode": str(mode)}))

    async def watermark(self, environment: str, model: str) -> datetime | None:
        """The newest event time heard of a model."""
        here = (watermarks.c.environment == environment) & (watermarks.c.model == model)
        at = (await self._tx.execute(select(watermarks.c.event_time_us).where(here))).scalar()
        return None if at is None else from_us(int(at))

    async def raise_watermark(self, environment: str, model: str, event_time: datetime) -> None:
        """Remembers an event time, unless a newer one is known."""
        at = to_us(event_time)
        put = insert_or(self._tx, watermarks).values(environment=environment, model=model, event_time_us=at)
        newer = watermarks.c.event_time_us < at
        changed = put.on_conflict_do_update(
            index_elements=["environment", "model"], set_={"event_time_us": at}, where=newer
        )
        await self._tx.execute(changed)
