import json
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet
import pytest

from gyrostat_client.outcomes import Outcome, outcome_of, read_outcomes
from gyrostat_common.errors import InvalidInput

NOON = datetime(2013, 7, 4, 12, tzinfo=UTC)


def test_an_outcome_names_its_prediction_in_exactly_one_way():
    assert Outcome("fraud", 1.0, NOON, prediction_id="a/0").to_message().prediction.prediction_id == "a/0"
    assert Outcome("fraud", 1.0, NOON, request_id="r", row=2).to_message().prediction.request.row == 2
    assert Outcome("fraud", 1.0, NOON, entity="card", at=NOON).to_message().prediction.entity.entity == "card"
    for wrong in ({}, {"prediction_id": "a", "request_id": "r"}):
        with pytest.raises(InvalidInput, match="exactly one"):
            Outcome("fraud", 1.0, NOON, **wrong).to_message()
    with pytest.raises(InvalidInput, match="needs `at`"):
        Outcome("fraud", 1.0, NOON, entity="card").to_message()


def test_the_three_kinds_of_file_say_the_same(tmp_path):
    rows = [
        {"prediction_id": "a/0", "value": 1.0, "observed_at": "2013-07-04T12:00:00Z"},
        {"prediction_id": "a/1", "value": 0.0, "observed_at": "2013-07-04T12:00:00Z"},
    ]
    (tmp_path / "o.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    (tmp_path / "o.csv").write_text(
        "prediction_id,value,observed_at\n"
        + "\n".join(f"{row['prediction_id']},{row['value']},{row['observed_at']}" for row in rows)
    )
    pyarrow.parquet.write_table(
        pa.Table.from_pylist([{**row, "observed_at": NOON} for row in rows]), tmp_path / "o.parquet"
    )
    read = [read_outcomes(tmp_path / f"o.{kind}", model="fraud")[1] for kind in ("jsonl", "csv", "parquet")]
    assert read[0] == read[1] == read[2]
    assert read[0][0] == Outcome("fraud", 1.0, NOON, prediction_id="a/0")


def test_the_wrong_row_of_a_file_is_named(tmp_path):
    (tmp_path / "o.csv").write_text("prediction_id,value,observed_at\na/0,1,2013-07-04\na/1,yes,2013-07-04\n")
    with pytest.raises(InvalidInput, match="row 2: could not convert"):
        read_outcomes(tmp_path / "o.csv", model="fraud")
    (tmp_path / "o.txt").write_text("")
    with pytest.raises(InvalidInput, match=r"\.csv, \.jsonl and \.parquet"):
        read_outcomes(tmp_path / "o.txt")


def test_a_row_without_a_model_or_with_an_unknown_column_is_refused():
    with pytest.raises(InvalidInput, match="no model"):
        outcome_of({"prediction_id": "a", "value": 1, "observed_at": NOON})
    with pytest.raises(InvalidInput, match="unknown column label"):
        outcome_of({"label": 1})
