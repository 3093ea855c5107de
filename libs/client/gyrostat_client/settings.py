"""Where the services are and who calls: GYROSTAT_CLIENT__… and the shared groups."""

import getpass

from pydantic import Field

from gyrostat_common.addresses import Called
from gyrostat_common.settings import CallingTls, ServiceSettings


def _user() -> str:
    """Who is logged in, for the audit log."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "anonymous"


class Settings(ServiceSettings, service="client"):
    """What the SDK and the `gyrostat` command read from the environment."""

    registry_address: Called = Field(
        "127.0.0.1:8011", description="gRPC address of the registry; tls:// before it for TLS"
    )
    inference_address: Called = Field("127.0.0.1:8001", description="gRPC address of inference; the same")
    monitor_address: Called = Field("127.0.0.1:8021", description="gRPC address of the monitor; the same")
    trainer_address: Called = Field("127.0.0.1:8031", description="gRPC address of the trainer; the same")
    tls: CallingTls = Field(default_factory=CallingTls, description="What is trusted and shown over TLS")
    actor: str = Field(default_factory=_user, description="Who calls; lands in the audit log")
    environment: str = Field("production", description="Environment that plans and roll-outs are about")
    tries: int = Field(4, ge=1, description="How often a call that is safe to repeat is tried")
    timeout_s: float = Field(10.0, gt=0, description="Deadline of one call in seconds")
