"""`Client` and `AsyncClient`: the whole of Gyrostat for a Python program.

    with Client() as gyrostat:
        answer = gyrostat.inference.predict("fraud", {"amount": [12.5], "country": ["CH"]})
        gyrostat.outcomes.record(Outcome("fraud", 1.0, observed_at=now, prediction_id=answer.row_id()))

Nothing is connected before the first call; a client needs only the services it calls.
"""

from functools import partial
from types import TracebackType
from typing import Self, TypedDict, Unpack

from gyrostat_client.blocking import Portal
from gyrostat_client.calls import Endpoint
from gyrostat_client.errors import BadAddress
from gyrostat_client.events import AsyncEvents, Events
from gyrostat_client.inference import AsyncInference, Inference
from gyrostat_client.models import AsyncModels, Models
from gyrostat_client.outcomes import AsyncOutcomes, Outcomes
from gyrostat_client.quality import AsyncEpisodes, AsyncQuality, Episodes, QualityReports
from gyrostat_client.rollouts import AsyncAudit, AsyncPlans, AsyncRollouts, Audit, Plans, Rollouts
from gyrostat_client.runs import AsyncDatasets, AsyncRuns, Datasets, Runs
from gyrostat_client.settings import Settings
from gyrostat_client.topics import AsyncTopics, Topics
from gyrostat_client.versions import AsyncVersions, Versions
from gyrostat_common import rpc
from gyrostat_common.addresses import called, each_checked
from gyrostat_common.tls import channel_credentials

SERVICES = {
    "registry": "gyrostat.registry.v1.RegistryService",
    "inference": "inference.GRPCInferenceService",
    "monitor": "gyrostat.monitor.v1.MonitorService",
    "trainer": "gyrostat.trainer.v1.TrainerService",
}


class Given(TypedDict, total=False):
    """What may be given instead of set: addresses as host:port, and who calls what for how long."""

    registry: str | None
    inference: str | None
    monitor: str | None
    trainer: str | None
    kafka: str | None
    actor: str | None
    environment: str | None
    timeout_s: float | None


class AsyncClient:
    """The services by noun. What is not given comes from GYROSTAT_CLIENT__… and GYROSTAT_KAFKA__…"""

    def __init__(self, settings: Settings | None = None, **given: Unpack[Given]) -> None:
        self.settings = _overridden(settings or Settings.load(), given)
        self.endpoints = {name: self._endpoint(name) for name in SERVICES}
        registry_, inference_, monitor_, trainer_ = self.endpoints.values()
        self.models = AsyncModels(registry_)
        self.versions = AsyncVersions(registry_)
        self.rollouts = AsyncRollouts(registry_, self.settings.environment)
        self.plans = AsyncPlans(registry_, self.settings.environment)
        self.audit = AsyncAudit(registry_)
        self.inference = AsyncInference(inference_)
        self.outcomes = AsyncOutcomes(monitor_)
        self.episodes = AsyncEpisodes(monitor_)
        self.quality = AsyncQuality(monitor_)
        self.runs = AsyncRuns(trainer_, registry_)
        self.datasets = AsyncDatasets(trainer_)
        self.events = AsyncEvents(self.settings.kafka)
        self.topics = AsyncTopics(self.settings.kafka)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes every channel that was opened."""
        for endpoint in self.endpoints.values():
            await endpoint.close()

    def _endpoint(self, name: str) -> Endpoint:
        given = self.settings
        dial = partial(
            rpc.connect,
            actor=given.actor,
            timeout_s=given.timeout_s,
            tries=given.tries,
            credentials=partial(channel_credentials, given.tls, given.service),
        )
        return Endpoint(name, SERVICES[name], getattr(given, f"{name}_address"), given.timeout_s, dial)


class Client:
    """AsyncClient for programs that do not write `async`: the same nouns and methods, without `await`."""

    def __init__(self, settings: Settings | None = None, **given: Unpack[Given]) -> None:
        self.portal = Portal()
        client = self.portal.call(_make(settings, given))
        self.asynchronous = client
        self.settings = client.settings
        self.models = Models(client.models, self.portal)
        self.versions = Versions(client.versions, self.portal)
        self.rollouts = Rollouts(client.rollouts, self.portal)
        self.plans = Plans(client.plans, self.portal)
        self.audit = Audit(client.audit, self.portal)
        self.inference = Inference(client.inference, self.portal)
        self.outcomes = Outcomes(client.outcomes, self.portal)
        self.episodes = Episodes(client.episodes, self.portal)
        self.quality = QualityReports(client.quality, self.portal)
        self.runs = Runs(client.runs, self.portal)
        self.datasets = Datasets(client.datasets, self.portal)
        self.events = Events(client.events, self.portal)
        self.topics = Topics(client.topics, self.portal)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes every channel and ends the thread behind."""
        self.portal.call(self.asynchronous.close())
        self.portal.close()


async def _make(settings: Settings | None, given: Given) -> AsyncClient:
    """Made on the loop that will run it."""
    return AsyncClient(settings, **given)


def _overridden(settings: Settings, given: Given) -> Settings:
    """The settings with what was given in their place. BadAddress for one that is none."""
    for name, text in given.items():
        if name in (*SERVICES, "kafka") and isinstance(text, str):
            try:
                each_checked(text) if name == "kafka" else called(text)
            except ValueError as error:
                raise BadAddress(f"{name} address {text!r}: {error}") from None
    changes: dict[str, object] = {
        f"{name}_address" if name in SERVICES else name: value
        for name, value in given.items()
        if value is not None and name != "kafka"
    }
    if (kafka := given.get("kafka")) is not None:
        changes["kafka"] = settings.kafka.model_copy(update={"bootstrap_servers": kafka})
    return settings.model_copy(update=changes)
