"""What is remembered of models, specs, aliases, environments, artifacts, versions and runs."""

from datetime import datetime

from sqlalchemy import delete, func, insert, select, update

from gyrostat_common.database import insert as insert_or
from gyrostat_common.times import from_us, to_us
from gyrostat_registry.domain.errors import ModelExists, ModelNotFound, RunExists
from gyrostat_registry.domain.paging import Listed, Page
from gyrostat_registry.domain.run import Run
from gyrostat_registry.domain.spec import ModelSpec
from gyrostat_registry.domain.version import Artifact, Model, Signature, Version
from gyrostat_registry.store.connection import OnConnection, listed
from gyrostat_registry.store.documents import dumped, loaded
from gyrostat_registry.store.tables import aliases, artifacts, environments, models, runs, specs, versions


class Catalogue(OnConnection):
    """Rows that people and pipelines put in. Every method runs in the transaction it was made for."""

    async def lock_model(self, name: str) -> None:
        """Until the transaction ends nobody else changes this model. ModelNotFound."""
        found = await self._tx.execute(select(models.c.name).where(models.c.name == name).with_for_update())
        if found.first() is None:
            raise ModelNotFound(f"there is no model {name!r}")

    async def add_model(self, model: Model, spec: ModelSpec) -> None:
        """A new model with the first revision of its spec. ModelExists."""
        row = {
            "name": model.name, "created_at_us": to_us(model.created_at), "created_by": model.created_by,
            "latest_version": 0, "spec": dumped(spec),
        }  # fmt: skip
        added = await self._tx.execute(insert_or(self._tx, models).values(row).on_conflict_do_nothing())
        if added.rowcount != 1:
            raise ModelExists(f"there is a model {model.name!r} already")
        await self._keep_spec(model.name, spec, model.created_at, model.created_by)

    async def save_spec(self, name: str, spec: ModelSpec, at: datetime, actor: str) -> None:
        """The next revision of a spec; the older ones stay on record."""
        await self._tx.execute(update(models).where(models.c.name == name).values(spec=dumped(spec)))
        await self._keep_spec(name, spec, at, actor)

    async def _keep_spec(self, name: str, spec: ModelSpec, at: datetime, actor: str) -> None:
        row = {"model": name, "revision": spec.revision, "at_us": to_us(at), "actor": actor, "spec": dumped(spec)}
        await self._tx.execute(insert(specs).values(row))

    async def model(self, name: str) -> tuple[Model, ModelSpec]:
        """The model and its spec in force. ModelNotFound."""
        row = (await self._tx.execute(select(models).where(models.c.name == name))).first()
        if row is None:
            raise ModelNotFound(f"there is no model {name!r}")
        return _model(row), loaded(ModelSpec, row.spec)

    async def models(self, page: Page) -> Listed[tuple[Model, ModelSpec]]:
        """By name."""
        query = select(models).where(models.c.name > page.after).order_by(models.c.name).limit(page.size + 1)
        rows = (await self._tx.execute(query)).all()
        return listed(rows, page, lambda row: (_model(row), loaded(ModelSpec, row.spec)), lambda row: str(row.name))

    async def model_names(self) -> tuple[str, ...]:
        """All of them, by name."""
        return tuple((await self._tx.execute(select(models.c.name).order_by(models.c.name))).scalars())

    async def next_version(self, name: str) -> int:
        """The next number of a model. The row stays locked until the transaction ends, and a rollback gives the number
        back: numbers have no gaps, whoever else registers.
        """
        raised = update(models).where(models.c.name == name).values(latest_version=models.c.latest_version + 1)
        number = (await self._tx.execute(raised.returning(models.c.latest_version))).scalar()
        if number is None:
            raise ModelNotFound(f"there is no model {name!r}")
        return int(number)

    async def aliases(self, name: str) -> dict[str, int]:
        """Free alias → version number."""
        rows = await self._tx.execute(select(aliases).where(aliases.c.model == name).order_by(aliases.c.alias))
        return {row.alias: int(row.version) for row in rows}

    async def set_alias(self, name: str, alias: str, number: int | None) -> bool:
        """Points an alias, or with None removes it. Whether it was there."""
        gone = await self._tx.execute(delete(aliases).where(aliases.c.model == name, aliases.c.alias == alias))
        if number is not None:
            await self._tx.execute(insert(aliases).values(model=name, alias=alias, version=number))
        return gone.rowcount > 0

    async def add_environment(self, name: str, description: str) -> bool:
        """Whether it is new."""
        row = {"name": name, "description": description}
        added = await self._tx.execute(insert_or(self._tx, environments).values(row).on_conflict_do_nothing())
        return added.rowcount == 1

    async def environments(self) -> dict[str, str]:
        """Name → description."""
        rows = await self._tx.execute(select(environments).order_by(environments.c.name))
        return {row.name: row.description for row in rows}

    async def add_artifact(self, artifact: Artifact) -> None:
        """Remembers an upload; the same content twice is one artifact, under its first name."""
        row = {
            "sha256": artifact.sha256, "size_bytes": artifact.size_bytes, "uri": artifact.uri, "name": artifact.name,
        }  # fmt: skip
        await self._tx.execute(insert_or(self._tx, artifacts).values(row).on_conflict_do_nothing())

    async def artifact(self, sha256: str) -> tuple[Artifact, Signature | None] | None:
        """The artifact, and its signature when its graph was read already."""
        row = (await self._tx.execute(select(artifacts).where(artifacts.c.sha256 == sha256))).first()
        if row is None:
            return None
        signature = loaded(Signature, row.signature) if row.signature else None
        return Artifact(row.sha256, int(row.size_bytes), row.uri, row.name), signature

    async def save_signature(self, sha256: str, signature: Signature) -> None:
        """What the graph of an artifact declares; it never changes, as the artifact does not."""
        changed = update(artifacts).where(artifacts.c.sha256 == sha256).values(signature=dumped(signature))
        await self._tx.execute(changed)

    async def add_version(self, version: Version) -> None:
        """A new version under its number."""
        row = {"model": version.model, "number": version.number, "run_id": version.run_id, "body": dumped(version)}
        await self._tx.execute(insert(versions).values(row))

    async def save_version(self, version: Version) -> None:
        """A version that was archived."""
        here = (versions.c.model == version.model) & (versions.c.number == version.number)
        await self._tx.execute(update(versions).where(here).values(body=dumped(version)))

    async def version(self, name: str, number: int) -> Version | None:
        """The version, if there is one of that number."""
        here = (versions.c.model == name) & (versions.c.number == number)
        body = (await self._tx.execute(select(versions.c.body).where(here))).scalar()
        return None if body is None else loaded(Version, body)

    async def versions(self, name: str, page: Page) -> Listed[Version]:
        """Newest first."""
        query = select(versions).where(versions.c.model == name).order_by(versions.c.number.desc())
        if page.after_number is not None:
            query = query.where(versions.c.number < page.after_number)
        rows = (await self._tx.execute(query.limit(page.size + 1))).all()
        return listed(rows, page, lambda row: loaded(Version, row.body), lambda row: str(row.number))

    async def add_run(self, run: Run) -> None:
        """A new run. RunExists."""
        row = {"id": run.id, "model": run.model, "body": dumped(run)}
        added = await self._tx.execute(insert_or(self._tx, runs).values(row).on_conflict_do_nothing())
        if added.rowcount != 1:
            raise RunExists(f"there is a run {run.id!r} already")

    async def run(self, run_id: str, *, lock: bool = False) -> Run | None:
        """The run, if there is one of that id; `lock` keeps others from changing it until the transaction ends."""
        query = select(runs.c.body).where(runs.c.id == run_id)
        body = (await self._tx.execute(query.with_for_update() if lock else query)).scalar()
        return None if body is None else loaded(Run, body)

    async def save_run(self, run: Run) -> None:
        """A run that went on."""
        await self._tx.execute(update(runs).where(runs.c.id == run.id).values(body=dumped(run)))

    async def runs(self, model: str, page: Page) -> Listed[Run]:
        """Newest first, of one model or of all ("")."""
        query = select(runs).order_by(runs.c.number.desc())
        if model:
            query = query.where(runs.c.model == model)
        if page.after_number is not None:
            query = query.where(runs.c.number < page.after_number)
        rows = (await self._tx.execute(query.limit(page.size + 1))).all()
        return listed(rows, page, lambda row: loaded(Run, row.body), lambda row: str(row.number))

    async def count_versions(self, name: str) -> int:
        """How many versions a model has; equals its highest number."""
        query = select(func.count()).select_from(versions).where(versions.c.model == name)
        return int((await self._tx.execute(query)).scalar_one())


def _model(row: object) -> Model:
    return Model(row.name, from_us(row.created_at_us), row.created_by, int(row.latest_version))  # type: ignore[attr-defined]
