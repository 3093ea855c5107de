import inspect
from datetime import UTC, datetime

import grpc
import numpy as np
import pytest

import gyrostat_client
from gyrostat.registry.v1 import model_pb2
from gyrostat_client import AsyncClient, Client, Outcome, ServiceFailed, TimedOut, Unreachable
from gyrostat_client.blocking import Blocking
from gyrostat_common.errors import AlreadyExists, InvalidInput, NotFound, Overloaded, WrongState
from support.fakes import NOON, PREDICTION, RUN

NOUNS = (
    "models",
    "versions",
    "rollouts",
    "plans",
    "audit",
    "inference",
    "outcomes",
    "episodes",
    "quality",
    "runs",
    "datasets",
    "events",
    "topics",
)


def test_the_synchronous_client_has_every_method_of_the_asynchronous_one(client):
    for noun in NOUNS:
        ours, theirs = getattr(client, noun), getattr(client.asynchronous, noun)
        assert isinstance(ours, Blocking)
        names = {name for name, _ in inspect.getmembers(type(theirs), inspect.isfunction) if not name.startswith("_")}
        assert names <= set(dir(ours)), noun
        for name in names:
            assert inspect.signature(getattr(type(ours), name)) == inspect.signature(getattr(type(theirs), name))


def test_names_are_loaded_when_they_are_used():
    assert all(getattr(gyrostat_client, name) for name in gyrostat_client.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = gyrostat_client.Nothing


async def test_the_asynchronous_client_does_the_same(services):
    async with AsyncClient() as client:
        answer = await client.inference.predict("fraud", {"amount": [50.0], "country": ["CH"]})
        assert answer.outputs["probabilities"].tolist() == [[0.5, 0.5]]
        assert [plan.model async for plan in client.plans.watch()] == ["fraud"]


def test_a_prediction_carries_its_id_version_and_outputs(client, services):
    answer = client.inference.predict(
        "fraud",
        [{"amount": 10, "country": "CH"}, {"amount": "20", "country": None}],
        event_time=NOON,
        entity="card",
        request_id="mine",
    )
    assert answer.row_id(1) == f"{PREDICTION}/1"
    assert (answer.model, answer.version, answer.variant, answer.revision) == ("fraud", "4", "champion", 7)
    assert answer.request_id == "mine"
    assert np.allclose(answer.outputs["probabilities"], [[0.9, 0.1], [0.8, 0.2]])
    assert answer.outputs["country"].tolist() == [["CH"], [""]]
    parameters = services.inference.requests[0].parameters
    assert parameters["gyrostat_event_time"].string_param == "2013-07-04T12:00:00Z"
    assert parameters["gyrostat_entity"].string_param == "card"


def test_wrong_inputs_and_models_that_are_not_served(client):
    with pytest.raises(InvalidInput, match="wants amount and country"):
        client.inference.predict("fraud", {"amount": 1})
    with pytest.raises(InvalidInput, match="'much' is not a number"):
        client.inference.predict("fraud", {"amount": "much", "country": "CH"})
    with pytest.raises(NotFound, match="other is not served"):
        client.inference.predict("other", {"amount": 1})
    with pytest.raises(NotFound, match="fraud:9 is not served"):
        client.inference.predict("fraud", {"amount": 1, "country": "CH"}, version=9)


def test_a_mutating_call_carries_a_fresh_request_id_and_the_actor(client, services):
    client.rollouts.promote("fraud", 3, reason="why")
    client.rollouts.promote("fraud", 3, reason="why")
    first, second = (call.request_id for call in services.registry.calls[-2:])
    assert first
    assert first != second
    assert set(services.registry.actors) == {"ada"}


def test_a_call_cut_after_its_effect_is_repeated_with_the_same_id(client, services):
    services.registry.fail["CreateModel"] = [(grpc.StatusCode.UNAVAILABLE, "connection reset")]
    client.models.create("new")
    assert len([call for call in services.registry.calls if getattr(call, "name", "") == "new"]) == 1
    client.models.create("newer", request_id="once")
    client.models.create("newer", request_id="once")
    assert services.registry.repeats == ["once"]


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, InvalidInput),
        (grpc.StatusCode.NOT_FOUND, NotFound),
        (grpc.StatusCode.ALREADY_EXISTS, AlreadyExists),
        (grpc.StatusCode.FAILED_PRECONDITION, WrongState),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, Overloaded),
        (grpc.StatusCode.INTERNAL, ServiceFailed),
        (grpc.StatusCode.DEADLINE_EXCEEDED, TimedOut),
    ],
)
def test_a_status_is_an_error_of_ours_with_the_services_own_reason(client, services, code, kind):
    services.registry.fail["GetModel"] = [(code, "said so")]
    with pytest.raises(kind) as caught:
        client.models.get("fraud")
    assert caught.value.__notes__ == ["error-reason: OF_THE_TEST"]
    assert not isinstance(caught.value, grpc.RpcError)


def test_nobody_at_the_address_is_named():
    with Client(registry="127.0.0.1:1") as client, pytest.raises(Unreachable, match=r"registry .* 127\.0\.0\.1:1"):
        client.models.list()


def test_lists_are_read_page_by_page(client, services):
    for number in range(250):
        services.registry.models[f"m{number}"] = model_pb2.Model(name=f"m{number}")
    assert len(client.models.list()) == 251
    assert len(client.models.list(limit=120)) == 120


def test_a_file_is_pushed_and_downloaded_by_digest(client, services, tmp_path):
    content = bytes(range(256)) * 9000
    (tmp_path / "model.onnx").write_bytes(content)
    made = client.versions.push("fraud", tmp_path / "model.onnx", run_id="run-1")
    again = client.versions.push("fraud", content, run_id="run-1")
    assert made.version.number == again.version.number == 5
    target = client.versions.download("fraud:5", tmp_path)
    assert target.name == "fraud-5.onnx"
    assert target.read_bytes() == content
    services.registry.artifacts[made.version.artifact.sha256] = b"other"
    with pytest.raises(InvalidInput, match="digest"):
        client.versions.download("fraud:5", tmp_path)


def test_references_are_resolved_where_a_number_is_needed(client):
    assert client.versions.number("fraud@champion") == 4
    assert client.versions.number("fraud:v1.2") == 3
    assert client.versions.number("fraud:2") == 2
    with pytest.raises(NotFound):
        client.versions.number("fraud@nobody")


def test_outcomes_of_a_file_are_recorded_once(client, services, tmp_path):
    rows = "\n".join(f"{PREDICTION}/{row},1,2013-07-04" for row in range(2500))
    (tmp_path / "o.csv").write_text("prediction_id,value,observed_at\n" + rows)
    assert client.outcomes.record_file(tmp_path / "o.csv", model="fraud", source="bank") == 2500
    assert client.outcomes.record_file(tmp_path / "o.csv", model="fraud", source="bank") == 2500
    assert len(services.monitor.outcomes) == 2500
    assert len(client.outcomes.record(Outcome("fraud", 1.0, datetime.now(UTC), prediction_id=PREDICTION))) == 1


def test_a_training_is_followed_to_its_end(client):
    run = client.runs.start("fraud", reason="new data")
    states = [state.progress.stage for state in client.runs.watch(run.run.id)]
    assert states == ["snapshot", "fit", "done"]
    assert client.runs.get(RUN).run.status == "succeeded"


def test_a_dataset_is_sent_in_pieces(client, services, tmp_path):
    (tmp_path / "rows.parquet").write_bytes(b"x" * 2_500_000)
    assert client.datasets.import_file("fraud-2012", tmp_path / "rows.parquet").rows == 2_500_000


def test_quality_takes_a_range_in_event_time(client, services):
    client.quality.get("fraud", start=NOON, by="month", live=True)
    request = services.monitor.calls[-1]
    assert getattr(request, "from").seconds == int(NOON.timestamp())
    assert not request.HasField("to")
