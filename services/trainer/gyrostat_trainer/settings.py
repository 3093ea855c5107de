"""What can be set. Read by `app` only, which hands each part its values."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from gyrostat_common.addresses import Address, Called
from gyrostat_common.settings import PeerTls, ServiceSettings


class Pipeline(BaseModel):
    """A training command with an environment of its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    command: list[str] = Field(min_length=1, description="Program and arguments")
    folder: str = Field("", description="Working folder; empty: the run's own")
    environment: dict[str, str] = Field(default_factory=dict, description="Variables beside those of the door")
    lock_file: str = Field(
        "", description="Lock of its environment, whose digest each run records; empty: package list"
    )


class Settings(ServiceSettings, service="trainer"):
    """GYROSTAT_TRAINER__…"""

    grpc_address: Address = Field("127.0.0.1:8031", description="Where gRPC listens; port 0 takes a free one")
    tls: PeerTls = Field(default_factory=PeerTls, description="TLS of gRPC")
    metrics_address: Address = Field("127.0.0.1:8032", description="Where /metrics, /healthz and /readyz listen")
    database_url: str = Field(
        "sqlite+aiosqlite:///{data}/trainer/trainer.db",
        description="The ledger: sqlite+aiosqlite or postgresql+asyncpg",
    )
    database_schema: str | None = Field(None, description="PostgreSQL schema of the ledger")
    registry_address: Called = Field(
        "127.0.0.1:8011", description="The registry's gRPC address; tls:// before it for TLS"
    )
    environment: str = Field("production", description="Environment whose episodes are acted on")
    artifacts_uri: str = Field("file://{data}/artifacts", description="Artifact store, shared with the registry")
    archive_uri: str = Field(
        "file://{data}/archive", description="Delta tables of predictions and outcomes, the monitor's"
    )
    datasets_uri: str = Field("{data}/datasets", description="Delta tables of imported datasets")
    work_folder: str = Field("{data}/trainer/runs", description="A folder per run lies below")
    pipelines: dict[str, Pipeline] = Field(
        default_factory=dict, description='Further pipelines, JSON: {"mine": {"command": ["python", "-m", "mine"]}}'
    )
    job_timeout_s: float = Field(3600.0, gt=0, description="A job that takes longer is killed, seconds")
    snapshot_copy_limit_bytes: int = Field(
        1 << 30, ge=0, description="Snapshots up to this size are copied into the artifact store"
    )
    keep_run_folders: int = Field(20, ge=1, description="Folders of ended runs that are kept for a look")
    look_again_s: float = Field(
        2.0, gt=0, description="How often waiting causes are held against the archive's newest event time"
    )
