import pytest

from gyrostat_client.references import BadReference, Reference, is_prediction_id, parse, parse_version


@pytest.mark.parametrize(
    ("text", "model", "version"),
    [
        ("fraud:3", "fraud", "3"),
        ("fraud:03", "fraud", "3"),
        ("fraud@champion", "fraud", "champion"),
        ("models:/fraud@champion", "fraud", "champion"),
        ("models:/fraud/3", "fraud", "3"),
        ("fraud:v1.2", "fraud", "v1.2"),
        ("fraud", "fraud", ""),
        ("card-fraud_2:3", "card-fraud_2", "3"),
    ],
)
def test_a_reference_names_a_model_and_a_version(text, model, version):
    assert parse(text) == Reference(model, version)


@pytest.mark.parametrize(
    "text", ["", ":3", "Fraud:3", "fraud:", "fraud@", "fraud:0", "fraud@3", "fraud:a b", "1fraud", "fraud:3:4"]
)
def test_what_names_nothing_is_refused_with_examples(text):
    with pytest.raises(BadReference, match="fraud@champion"):
        parse(text)


def test_a_version_must_be_named_where_one_is_needed():
    with pytest.raises(BadReference, match="names no version"):
        parse_version("fraud")


def test_a_reference_prints_as_people_type_it():
    assert [str(parse(text)) for text in ("models:/fraud/3", "fraud:v1.2", "fraud")] == [
        "fraud:3",
        "fraud@v1.2",
        "fraud",
    ]
    assert parse("fraud:3").number == 3
    assert parse("fraud@champion").number == 0


def test_a_prediction_id_is_told_from_a_version():
    assert is_prediction_id("0198c2d4-aaaa-7000-8000-000000000001/3")
    assert is_prediction_id("0198C2D4-aaaa-7000-8000-000000000001")
    assert not is_prediction_id("fraud:3")
