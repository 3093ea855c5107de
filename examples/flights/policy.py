"""What the demo tells Gyrostat once, at the beginning: the model's spec and the pipeline's parameters.

Every value has its reason here. After the first promotion nobody touches them.
"""

import json
from typing import Final

from gyrostat.registry.v1 import model_pb2

MODEL: Final = "flights"
DATASET: Final = "flights-first-months"
ACTOR: Final = "flights-demo"
OPERATOR: Final = "operator"
DAY_S: Final = 86_400
# The same for the governed arm, the monthly arm and the version released by hand.
PARAMETERS: Final = {"task": "binary", "num_boost_round": 150, "learning_rate": 0.05, "num_leaves": 31}


def model_spec(seed: int) -> model_pb2.ModelSpec:
    """The ModelSpec of the demo."""
    return model_pb2.ModelSpec(
        owner="operations@flights.example",
        team="operations",
        description="Will this flight land more than 15 minutes late? Asked at its scheduled departure.",
        task=model_pb2.TASK_BINARY,
        score_output="probabilities",
        label=_label_policy(),
        autopilot=model_pb2.AUTOPILOT_MODE_ON,
        monitor=_monitor_policy(),
        retrain=_retrain_policy(seed),
        rollout=_rollout_policy(),
        labels={"example": "flights"},
    )


def _label_policy() -> model_pb2.LabelPolicy:
    # A flight lands within a day of its scheduled departure, nearly always; a week leaves room for a slow backend.
    return model_pb2.LabelPolicy(horizon_s=7 * DAY_S, lag_s=DAY_S, decision_threshold=0.5)


def _monitor_policy() -> model_pb2.MonitorPolicy:
    return model_pb2.MonitorPolicy(
        # Traffic and lateness have a weekly rhythm: a shorter window would compare Sundays with Tuesdays.
        window_s=7 * DAY_S,
        min_window_rows=1_000,
        # Requests of one half hour travel side by side.
        lateness_s=7_200,
        fdr=0.01,
        # Weather moves by a third of a standard deviation between any two weeks; less than that is no news.
        effect_floor=0.3,
        loss_floor=0.05,
        # One bad week is weather, two in a row are a change.
        confirm_windows=2,
    )


def _retrain_policy(seed: int) -> model_pb2.RetrainPolicy:
    return model_pb2.RetrainPolicy(
        # Realised loss alone is blind in a calm month (few late flights, small loss, stale model), so inputs count too.
        on=["performance", "data"],
        # Three weeks of new flights are enough to learn from, and a month with two candidates is busy enough.
        cooldown_s=21 * DAY_S,
        min_rows=5_000,
        pipeline="tabular",
        parameters_json=json.dumps(PARAMETERS | {"seed": seed}, sort_keys=True),
        dataset=DATASET,
        # The most recent tenth: one to four weeks of flights that the champion has not seen either.
        holdout_share=0.1,
        max_runs_per_30_days=3,
    )


def _rollout_policy() -> model_pb2.RolloutPolicy:
    return model_pb2.RolloutPolicy(
        steps=[100, 500, 2_500, 10_000],
        # Flights of one day share their weather: two days' worth of pairs before anything is decided on them.
        min_paired_rows=2_000,
        min_exposure=100,
        # A step waits two days for answers of its own; then what both versions scored decides alone.
        max_step_s=2 * DAY_S,
        # 0.02 of log loss is a twenty-fifth of what the model has; the gate below asks the same of the past.
        loss_margin=0.02,
        # The evidence counts days of weather for what they are worth; one error in twenty is then a week's patience.
        alpha=0.05,
        guard_s=7 * DAY_S,
        max_rollout_s=28 * DAY_S,
        # A fortnight of held-out flights cannot prove more than "not clearly worse": live traffic decides the rest.
        gates=[
            model_pb2.GateThreshold(number="quality.loss_delta_upper", at_most=0.02),
            model_pb2.GateThreshold(number="parity.max_difference", at_most=1e-5),
            model_pb2.GateThreshold(number="parity.label_flips", at_most=0.0),
            # Half a month of weather is never average: calibration moves by several points with it.
            model_pb2.GateThreshold(number="calibration.ece", at_most=0.15),
        ],
        max_promotions_per_7_days=3,
    )
