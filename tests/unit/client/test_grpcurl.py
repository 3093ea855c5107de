"""The line that `gyrostat predict` prints says what grpcurl must know about TLS."""

from __future__ import annotations

import pytest

from gyrostat_client.cli.predict import grpcurl
from gyrostat_client.settings import Settings
from gyrostat_common import oip

ADDRESS = "GYROSTAT_CLIENT__INFERENCE_ADDRESS"


@pytest.mark.parametrize(
    ("given", "begins", "ends"),
    [
        ({ADDRESS: "10.0.0.1:8001"}, "grpcurl -plaintext -d '{", "}' 10.0.0.1:8001 inference."),
        ({ADDRESS: "tls://front:8001"}, "grpcurl -d '{", "}' front:8001 inference."),
        (
            {ADDRESS: "tls://front:8001", "GYROSTAT_CLIENT__TLS__CA": "/etc/my ca.pem"},
            "grpcurl -cacert '/etc/my ca.pem' -d '{",
            "}' front:8001 inference.",
        ),
    ],
)
def test_the_line_for_grpcurl_knows_tls(given: dict[str, str], begins: str, ends: str):
    line = grpcurl(oip.ModelInferRequest(model_name="m"), Settings.load(given))
    assert line.startswith(begins)
    assert ends in line
