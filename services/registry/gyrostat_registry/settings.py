"""What can be set for the registry. Read by `app` only."""

from pydantic import Field

from gyrostat_common.addresses import Address
from gyrostat_common.settings import ServiceSettings, ServingTls


class Settings(ServiceSettings, service="registry"):
    """GYROSTAT_REGISTRY__… and the shared groups."""

    grpc_address: Address = Field("127.0.0.1:8011", description="Where gRPC is served")
    tls: ServingTls = Field(default_factory=ServingTls, description="TLS of gRPC")
    metrics_address: Address = Field("127.0.0.1:8012", description="Where /metrics, /healthz and /readyz are served")
    database_url: str = Field(
        "sqlite+aiosqlite:///{data}/registry/registry.db", description="SQLAlchemy URL of the database"
    )
    database_schema: str = Field("", description="PostgreSQL schema; empty: the default")
    artifacts_uri: str = Field("file://{data}/artifacts", description="Where artifacts lie: file:///…, s3://…")
    uploads_folder: str = Field("{data}/registry/uploads", description="Where uploads lie until they are complete")
    largest_artifact_bytes: int = Field(2 * 1024**3 - 1, gt=0, description="Largest file that may be uploaded, bytes")
    graph_timeout_s: float = Field(60.0, gt=0, description="Longest time that reading one ONNX graph may take, seconds")
    compare_every_s: float = Field(
        60.0, gt=0, description="How often the serving.plan topic is compared with the tables, seconds"
    )
