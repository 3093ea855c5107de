"""What can be set. Read by `app` and `shipper` only."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from gyrostat_common.addresses import Address, NoneOrAddress, NoneOrCalled
from gyrostat_common.settings import PeerTls, ServiceSettings, variables


class ConnectionSettings(BaseModel):
    """GYROSTAT_INFERENCE__CONNECTION__…: what callers may cost, on either front."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    most: int = Field(10_000, ge=1, description="Most connections of one process; more are closed at once (own front)")
    streams: int = Field(1_024, ge=1, le=1_000_000, description="Calls at once on one connection")
    message_bytes: int = Field(
        64 * 1024**2, ge=1024, le=1024**3, description="Of one message or REST body, compressed or not"
    )
    header_list_bytes: int = Field(16_384, ge=4_096, le=1024**2, description="Of a call's metadata")
    keepalive_s: float = Field(60.0, gt=0, description="Silence after which a caller is asked whether it is there")
    keepalive_answer_s: float = Field(20.0, gt=0, description="What it has to answer")
    idle_s: float = Field(3_600.0, gt=0, description="A connection without calls is closed after this")
    age_s: float = Field(
        0.0,
        ge=0,
        description="An older one is asked to go, a tenth sooner or later; 0: 1,800, with workers 600; inf: never",
    )
    age_grace_s: float = Field(60.0, gt=0, description="What its last calls may still take")


class Settings(ServiceSettings, service="inference"):
    """GYROSTAT_INFERENCE__… and the shared groups."""

    grpc_address: Address = Field(
        "127.0.0.1:8001", description="Where the Open Inference Protocol is answered; port 0: a free one"
    )
    front: Literal["grpcio", "own"] = Field(
        "own", description="What answers gRPC: our own server, made for small fast calls, or gRPC's"
    )
    metrics_address: Address = Field("127.0.0.1:8002", description="Where /metrics, /healthz and /readyz are answered")
    rest_address: NoneOrAddress = Field(
        "127.0.0.1:8000", description="Where the protocol's REST twin is answered; port 0: a free one, empty: nowhere"
    )
    tls: PeerTls = Field(default_factory=PeerTls, description="TLS of gRPC and REST")
    connection: ConnectionSettings = Field(default_factory=ConnectionSettings, description="What callers may cost")
    environment: str = Field("production", description="The environment whose plans are followed")
    replica: str = Field("", description="Name of this replica in heartbeats; empty: host name and process id")
    artifacts_uri: str = Field("file://{data}/artifacts", description="The shared artifact store")
    registry_address: NoneOrCalled = Field(
        "", description="Asked for artifacts that the store does not have, tls:// before it for TLS; empty: nobody"
    )
    cache_folder: str = Field(
        "{data}/inference/cache", description="Last plans and artifacts, to start without the others"
    )
    hash_key: SecretStr = Field(
        SecretStr(""),
        description="Key of the digests of hashed inputs, at least 16 characters, the same for all replicas; "
        "empty: each makes its own",
    )
    longest_run_s: float = Field(
        10.0, gt=0, description="A run of a graph that takes longer is stopped; an endless one would keep its thread"
    )
    on_loop_ms: float = Field(
        5.0,
        gt=0,
        description="A run that is expected to take longer leaves the event loop, so that others are answered",
    )
    queue_rows: int = Field(
        65_536,
        ge=1,
        description="Most rows of all models that wait for a run in one process; beyond it calls are refused",
    )
    queue_ms: float = Field(
        2_000.0, gt=0, description="Most milliseconds that what waits in one process is expected to take"
    )
    queue_bytes: int = Field(
        128 * 1024**2, ge=1024**2, description="Most bytes of inputs that wait for a run in one process"
    )
    model_memory_bytes: int = Field(
        4 * 1024**3, ge=64 * 1024**2, description="Most memory of all graphs together, weights and values of runs"
    )
    spool_folder: str = Field("{data}/inference/spool", description="Answers on their way to Kafka")
    spool_max_bytes: int = Field(2 * 1024**3, ge=1024**2, description="Most bytes that may wait in the spool")
    spool_max_age_s: float = Field(24 * 3600, gt=0, description="Oldest answer that may wait in the spool, seconds")
    spool_on_full: Literal["sample", "drop_new", "reject", "block"] = Field(
        "sample",
        description="When the spool fills: from the half on keep a falling share of the answers; or, when it is full: "
        "count answers as dropped, refuse calls, or let them wait",
    )
    spool_strict: bool = Field(
        False, description="Flush to the disk before every reply: nothing is lost in a power cut"
    )
    ship: bool = Field(True, description="Start the shipper as a child; else run python -m gyrostat_inference.shipper")
    ship_at_close_s: float = Field(10.0, ge=0, description="How long closing waits for the spool to be shipped")
    heartbeat_s: float = Field(10.0, gt=0, description="Seconds of wall time between two plan.applied")

    workers: int = Field(
        1,
        ge=0,
        le=1024,
        description="Processes that answer; 1: this one alone, 0: one for each core",
    )
    worker_silent_s: float = Field(
        30.0, gt=1, description="A worker that says nothing for so long hangs and is killed; longer than a run may be"
    )

    @field_validator("hash_key")
    @classmethod
    def _long_enough(cls, key: SecretStr) -> SecretStr:
        if 0 < len(key.get_secret_value()) < 16:
            raise ValueError("too short to hide anything")
        return key


def environ_of(settings: Settings) -> dict[str, str]:
    """The variables that give a child process these settings, whatever this process was started with."""
    environ = {}
    for variable, path, _ in variables(Settings):
        value: object = settings
        for step in path:
            value = getattr(value, step)
        environ[variable] = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
    return environ
