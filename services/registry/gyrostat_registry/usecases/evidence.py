"""What is heard and kept, and the chain that is told from it."""

from gyrostat_registry.domain.audit import AuditEntry
from gyrostat_registry.domain.evidence import Episode, Replica, TrainingEnd
from gyrostat_registry.domain.lineage import Facts, Node, causes, chain
from gyrostat_registry.domain.paging import Listed, Page
from gyrostat_registry.usecases.ports import Store
from gyrostat_registry.usecases.versions import resolved, views


class Evidence:
    """Keeps events for lineage, and answers where a version came from."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def episode_heard(self, episode: Episode) -> None:
        """A state of an episode. Its watermark moves event time on."""
        async with self._store.transaction() as tx:
            known = await tx.episode(episode.id)
            await tx.save_episode(known.told_again(episode) if known else episode)
            watermark = episode.heard[-1].watermark if episode.heard else None
            if watermark is not None:
                await tx.raise_watermark(episode.environment, episode.model, watermark)

    async def training_heard(self, training: TrainingEnd) -> None:
        """A training that ended."""
        async with self._store.transaction() as tx:
            await tx.add_training(training)

    async def replica_heard(self, replica: Replica) -> None:
        """What a replica serves."""
        async with self._store.transaction() as tx:
            await tx.save_replica(replica)

    async def lineage(self, model: str, reference: str) -> tuple[tuple[Node, ...], tuple[str, ...]]:
        """From effect to cause, and the links that are missing."""
        async with self._store.reading() as tx:
            version = await resolved(tx, model, reference)
            run = await tx.run(version.run_id) if version.run_id else None
            named = [await tx.episode(cause) for cause in causes(version, run)]
            promotions = await tx.promotions_of(model, version.number)
            # A champion may be one again because another version was taken back: the verdict was about that one.
            caused = await tx.judgements_named([one.causation_id for one in promotions if one.causation_id])
            judgements = {one.event_id: one for one in (*await tx.judgements_of(model, version.number), *caused)}
            facts = Facts(
                version=version, stage=str((await views(tx, model, (version,)))[0].stage), run=run,
                trainings=await tx.trainings_of(version.run_id) if version.run_id else (),
                episodes=tuple(episode for episode in named if episode is not None),
                rollouts=await tx.rollouts_of(model, version.number),
                judgements=tuple(judgements.values()), promotions=promotions,
                parent=await tx.version(model, version.parent) if version.parent else None,
            )  # fmt: skip
        return chain(facts)

    async def audit(self, model: str, actor: str, page: Page) -> Listed[AuditEntry]:
        """The audit log, newest first."""
        async with self._store.reading() as tx:
            return await tx.audit(model, actor, page)
