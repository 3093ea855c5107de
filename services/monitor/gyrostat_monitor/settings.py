"""What can be set."""

from __future__ import annotations

from pydantic import Field

from gyrostat_common.addresses import Address
from gyrostat_common.settings import ServiceSettings, ServingTls


class Settings(ServiceSettings, service="monitor"):
    """GYROSTAT_MONITOR__… and the shared groups."""

    grpc_address: Address = Field("127.0.0.1:8021", description="Where gRPC is served; port 0 takes a free one")
    tls: ServingTls = Field(default_factory=ServingTls, description="TLS of gRPC")
    metrics_address: Address = Field("127.0.0.1:8022", description="Where /metrics, /healthz and /readyz are served")
    database_url: str = Field(
        "sqlite+aiosqlite:///{data}/monitor/monitor.db", description="SQLAlchemy URL of the database"
    )
    database_schema: str = Field("", description="PostgreSQL schema; empty: the default one")
    environment: str = Field("production", description="Environment whose models are watched; all are archived")
    archive_uri: str = Field("file://{data}/archive", description="Where the Delta tables lie")
    artifacts_uri: str = Field("file://{data}/artifacts", description="Where reference profiles are read from")
    archive_interval_s: float = Field(2.0, ge=0, description="Least seconds between two commits of a Delta table")
    observe_interval_s: float = Field(0.1, ge=0, description="Least seconds between two batches of the windows")
    stream_silent_s: float = Field(60.0, gt=0, description="Silence after which a stream holds event time back no more")
    watch_interval_s: float = Field(5.0, gt=0, description="Seconds between two looks at lag, silence and gauges")
    no_predictions_s: float = Field(300.0, gt=0, description="Silence of a live model that raises an alert, seconds")
    stuck_s: float = Field(120.0, gt=0, description="Seconds without movement before waiting records raise an alert")
