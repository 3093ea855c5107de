"""Versions: registered with their evidence, looked at, archived. And the artifacts they are made of."""

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from gyrostat_common.clock import Clock
from gyrostat_registry.domain import gates
from gyrostat_registry.domain.audit import Caller
from gyrostat_registry.domain.errors import ArtifactNotFound, BadArtifact, VersionInUse, VersionNotFound
from gyrostat_registry.domain.names import DEFAULT_ENVIRONMENT, checked_digest, version_number
from gyrostat_registry.domain.paging import Listed, Page
from gyrostat_registry.domain.plan import Plan, following_aliases
from gyrostat_registry.domain.rollout import Rollout
from gyrostat_registry.domain.spec import ModelSpec, check_against, samples_problem
from gyrostat_registry.domain.version import (
    Artifact,
    GateResult,
    Signature,
    Stage,
    Standing,
    Version,
    check_declared,
    refusals,
    stage_of,
)
from gyrostat_registry.usecases.ledger import Ledger
from gyrostat_registry.usecases.ports import Blobs, Graphs, Records, Store
from gyrostat_registry.usecases.rollouts import Rollouts

LARGEST_PROFILE = 64 * 1024 * 1024
LARGEST_SAMPLES = 1024 * 1024
_MOST_REFUSALS = 20


@dataclass(frozen=True)
class Registration:
    """What is said when a version is registered."""

    model: str
    artifact_sha256: str
    profile_sha256: str = ""
    signature: Signature = field(default_factory=Signature)
    run_id: str = ""
    gates: tuple[GateResult, ...] = ()
    cause: str = ""
    correlation_id: str = ""
    causation_id: str = ""
    description: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    event_time: datetime | None = None
    hold: bool = False
    warm_up_sha256: str = ""


@dataclass(frozen=True)
class VersionView:
    """A version with its stage and the reason for it."""

    version: Version
    stage: Stage
    reason: str


class Versions:
    """Registers and shows versions."""

    def __init__(
        self, store: Store, rollouts: Rollouts, blobs: Blobs, graphs: Graphs, ledger: Ledger, clock: Clock
    ) -> None:
        self._store = store
        self._rollouts = rollouts
        self._blobs = blobs
        self._graphs = graphs
        self._ledger = ledger
        self._clock = clock

    async def upload(
        self, caller: Caller, name: str, sha256: str, size_bytes: int, chunks: AsyncIterator[bytes]
    ) -> Artifact:
        """Takes in a file by its content. BadArtifact on a wrong digest or size, or when it is too large."""
        if sha256:
            checked_digest(sha256)
        artifact = replace(await self._blobs.take(chunks, sha256, size_bytes), name=name[:256])
        async with self._store.transaction() as tx:
            kept = await tx.artifact(artifact.sha256)
            if kept is not None:
                return kept[0]
            await tx.add_artifact(artifact)
            detail = {"name": artifact.name, "size_bytes": artifact.size_bytes}
            await self._ledger.note(tx, caller, "UploadArtifact", artifact.sha256, detail=detail)
        return artifact

    async def download(self, sha256: str) -> AsyncIterator[bytes]:
        """The bytes of an artifact. ArtifactNotFound."""
        async with self._store.reading() as tx:
            await _uploaded(tx, checked_digest(sha256))
        return self._blobs.stream(sha256)

    async def examine(self, said: Registration) -> None:
        """Reads graph, profile and samples, outside any transaction: it starts a process and takes its time.

        The signature is remembered with the artifact, so that a repeat reads nothing. BadArtifact, ArtifactNotFound.
        """
        checked_digest(said.artifact_sha256)
        async with self._store.reading() as tx:
            await tx.model(said.model)
            _, signature = await _uploaded(tx, said.artifact_sha256)
            profile, warm_up = await _beside(tx, said)
        if profile is not None:
            await self._check_profile(profile)
        if warm_up is not None:
            await self._check_samples(warm_up)
        if signature is None:
            async with self._blobs.file(said.artifact_sha256) as path:
                signature = await self._graphs.signature(path)
            async with self._store.transaction() as tx:
                await tx.save_signature(said.artifact_sha256, signature)

    async def _check_profile(self, profile: Artifact) -> None:
        content = await self._content("the profile has", profile, LARGEST_PROFILE)
        try:
            read = json.loads(content)
        except (ValueError, RecursionError) as exc:
            raise BadArtifact("the profile is not JSON") from exc
        if not isinstance(read, dict):
            raise BadArtifact("the profile is no JSON object")

    async def _check_samples(self, samples: Artifact) -> None:
        if wrong := samples_problem(await self._content("the samples have", samples, LARGEST_SAMPLES)):
            raise BadArtifact(f"the samples to warm up with: {wrong}")

    async def _content(self, who: str, artifact: Artifact, most_bytes: int) -> bytes:
        if artifact.size_bytes > most_bytes:
            raise BadArtifact(f"{who} {artifact.size_bytes} bytes; at most {most_bytes}")
        return b"".join([chunk async for chunk in self._blobs.stream(artifact.sha256)])

    async def register(self, caller: Caller, said: Registration) -> tuple[VersionView, Rollout | None]:
        """The next version of a model, its gates judged, and the roll-out that comes of it. Call `examine` first."""
        async with self._store.transaction() as tx:
            await tx.lock_model(said.model)
            _, spec = await tx.model(said.model)
            version = await self._made(tx, caller, said, spec)
            await tx.add_version(version)
            if said.run_id and (run := await tx.run(said.run_id, lock=True)) is not None:
                await tx.save_run(replace(run, version=version.number))
            if said.event_time is not None:
                await tx.raise_watermark(DEFAULT_ENVIRONMENT, said.model, said.event_time)
            caller = replace(caller, correlation_id=said.correlation_id, causation_id=said.causation_id)
            await self._note(tx, caller, version)
            rollout = None if said.hold else await self._rollouts.consider(tx, version, caller)
            return (await views(tx, said.model, (version,)))[0], rollout

    async def _made(self, tx: Records, caller: Caller, said: Registration, spec: ModelSpec) -> Version:
        artifact, graph = await _uploaded(tx, said.artifact_sha256)
        if graph is None:
            raise BadArtifact(f"the graph of artifact {said.artifact_sha256} was not read")
        check_declared(said.signature, graph)
        check_against(spec, graph)
        profile, warm_up = await _beside(tx, said)
        plan = await tx.plan(DEFAULT_ENVIRONMENT, said.model)
        number = await tx.next_version(said.model)
        return Version(
            model=said.model, number=number, artifact=artifact, signature=graph, created_at=self._clock.now(),
            created_by=caller.actor, profile=profile, run_id=said.run_id,
            gates=gates.judged(said.gates, spec.rollout.gates) + await _contract(tx, said, graph, plan),
            cause=said.cause or caller.actor,
            correlation_id=said.correlation_id, causation_id=said.causation_id, description=said.description[:4096],
            tags=dict(list(said.tags.items())[:1024]), parent=plan.lineup.champion if plan else 0,
            event_time=said.event_time, warm_up=warm_up,
        )  # fmt: skip

    async def _note(self, tx: Records, caller: Caller, version: Version) -> None:
        stage, reason = stage_of(version, Standing())
        measured = {gate.gate: gate.numbers for gate in version.gates}
        detail = {"sha256": version.artifact.sha256, "stage": str(stage), "gates": measured, "run": version.run_id}
        subject = f"{version.model}:{version.number}"
        await self._ledger.note(
            tx, caller, "CreateModelVersion", subject, model=version.model, reason=reason, detail=detail
        )

    async def get(self, model: str, reference: str) -> VersionView:
        """One version by number or alias. VersionNotFound."""
        async with self._store.reading() as tx:
            return (await views(tx, model, (await resolved(tx, model, reference),)))[0]

    async def list(self, model: str, page: Page) -> Listed[VersionView]:
        """Newest first."""
        async with self._store.reading() as tx:
            await tx.model(model)
            found = await tx.versions(model, page)
            return Listed(await views(tx, model, found.rows), found.last)

    async def archive(self, caller: Caller, model: str, number: int) -> VersionView:
        """Puts a version away. VersionInUse while a plan or a roll-out that is not over names it."""
        async with self._store.transaction() as tx:
            await tx.lock_model(model)
            version = await resolved(tx, model, str(number))
            name = f"{model}:{number}"
            for plan in await tx.plans_of(model):
                if number in plan.numbers | set(plan.pins):
                    raise VersionInUse(f"{name} is in the plan of {plan.environment}; take it out first")
            for rollout in await tx.open_rollouts():
                involved = (rollout.version, rollout.from_version, rollout.from_fallback)
                if rollout.model == model and number in involved:
                    raise VersionInUse(f"{name} is part of roll-out {rollout.id}, which is {rollout.state}")
            if not version.archived:
                await tx.save_version(replace(version, archived=True))
                await self._ledger.note(tx, caller, "ArchiveModelVersion", name, model=model)
            return (await views(tx, model, (replace(version, archived=True),)))[0]


async def _contract(tx: Records, said: Registration, graph: Signature, plan: Plan | None) -> tuple[GateResult, ...]:
    """The refused gate of a run's candidate that callers of the champion could not use; nothing when they can, and
    nothing for a version without a run, which a person pushed as it is.
    """
    champion = await tx.version(said.model, plan.lineup.champion) if plan and plan.lineup.champion else None
    broken = refusals(graph, champion.signature) if champion is not None and said.run_id else ()
    if not broken:
        return ()
    reason = "; ".join(broken[:_MOST_REFUSALS]) + (" …" if len(broken) > _MOST_REFUSALS else "")
    return (GateResult("signature", {"broken": float(len(broken))}, passed=False, reason=reason),)


async def _beside(tx: Records, said: Registration) -> tuple[Artifact | None, Artifact | None]:
    """Profile and samples of a registration, None where it names none. ArtifactNotFound."""
    profile, warm_up = said.profile_sha256, said.warm_up_sha256
    return (
        (await _uploaded(tx, checked_digest(profile)))[0] if profile else None,
        (await _uploaded(tx, checked_digest(warm_up)))[0] if warm_up else None,
    )


async def _uploaded(tx: Records, sha256: str) -> tuple[Artifact, Signature | None]:
    found = await tx.artifact(sha256)
    if found is None:
        raise ArtifactNotFound(f"nothing was uploaded under sha256 {sha256}")
    return found


async def resolved(tx: Records, model: str, reference: str) -> Version:
    """The version that a number or an alias names. ModelNotFound, VersionNotFound."""
    known, _ = await tx.model(model)
    number = version_number(reference)
    if number is None:
        following = following_aliases(await tx.plan(DEFAULT_ENVIRONMENT, model), known.latest_version)
        aliases = {**await tx.aliases(model), **following}
        if reference not in aliases:
            have = ", ".join(f"{alias} → {at}" for alias, at in sorted(aliases.items()))
            raise VersionNotFound(f"{model} has no alias {reference[:80]!r}; it has: {have or 'none'}")
        number = aliases[reference]
    version = await tx.version(model, number)
    if version is None:
        raise VersionNotFound(f"there is no {model}:{number}; the newest is {known.latest_version}")
    return version


async def views(tx: Records, model: str, versions: tuple[Version, ...]) -> tuple[VersionView, ...]:
    """Versions with their stages, seen over all environments."""
    plans = await tx.plans_of(model)
    promotions = await tx.champions_ever(model)
    taken_back = await tx.rolled_back(model)

    def view(version: Version) -> VersionView:
        number = version.number
        standing = Standing(
            champion_in=_where(plans, lambda plan: plan.lineup.champion == number),
            canary_in=_where(plans, lambda plan: plan.canary is not None and plan.canary.number == number),
            shadow_in=_where(plans, lambda plan: any(shadow.version.number == number for shadow in plan.shadows)),
            was_champion=number in promotions,
            rolled_back=taken_back.get(number, ""),
        )
        return VersionView(version, *stage_of(version, standing))

    return tuple(view(version) for version in versions)


def _where(plans: tuple[Plan, ...], holds: Callable[[Plan], bool]) -> tuple[str, ...]:
    return tuple(plan.environment for plan in plans if holds(plan))
