"""When the trainer acts on an episode. Event time only: the watermark that came with the news, never a clock.

The rules in their order; the first that applies decides:
  kind          only kinds in `retrain.on` cause a training (data quality never does: it tells a human)
  ended         a resolved or superseded episode causes nothing any more
  champion      only the version that answers is retrained for
  opened        an episode is acted on when it is confirmed
  running       while a run of the model is queued or running, further episodes attach to it
  attached      an episode whose run is over may try again only when no candidate is being rolled out
  data quality  while a data-quality episode of the model is open nothing is trained
  cool-down     the last training is at least `cooldown_s` before the watermark
  budget        fewer than `max_runs_per_30_days` trainings in the 30 days before the watermark
  train
"""

from __future__ import annotations

from dataclasses import dataclass

from gyrostat_trainer.domain.episodes import CONFIRMED, RESOLVED, Episode
from gyrostat_trainer.domain.spec import DATA_QUALITY, DAY_S, TrainingSpec

TRAIN, ATTACH, WAIT, IGNORE = "train", "attach", "wait", "ignore"
BUDGET_DAYS = 30


@dataclass(frozen=True)
class Situation:
    """All that a decision depends on."""

    episode: Episode
    spec: TrainingSpec
    # Version that answers now; 0: none.
    champion: int
    watermark_us: int
    # Run of the model that is queued or running.
    open_run: str = ""
    # A candidate is being rolled out (shadow or canary).
    rollout_open: bool = False
    # Ids of the model's open data-quality episodes.
    data_quality: tuple[str, ...] = ()
    # Event times of the model's trainings so far, in microseconds.
    trainings_us: tuple[int, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """What to do and why; `rule` names the rule above.

    Silent verdicts are not worth a line in the list of decisions.
    """

    action: str
    rule: str
    reason: str
    silent: bool = False


def decide(now: Situation) -> Verdict:
    """The verdict on one episode in one situation; the same situation always gets the same verdict."""
    for rule in (_kind, _ended, _champion, _opened, _running, _attached, _data_quality, _cooldown, _budget):
        verdict = rule(now)
        if verdict is not None:
            return verdict
    return Verdict(TRAIN, f"train{now.episode.attempts}", _why(now))


def _why(now: Situation) -> str:
    episode = now.episode
    if episode.attempts == 0:
        return f"{episode.kind} episode of version {episode.version} is confirmed: {episode.summary}".rstrip(": ")
    attempt = f"attempt {episode.attempts + 1}"
    return f"{episode.kind} episode still stands after run {episode.run_id} and the cool-down; {attempt}"


def _kind(now: Situation) -> Verdict | None:
    kind = now.episode.kind
    if kind == DATA_QUALITY:
        named = f" ({', '.join(now.episode.features)})" if now.episode.features else ""
        ended = not now.episode.is_open
        reason = (
            "over; training is allowed again"
            if ended
            else "blocks training, and its rows are left out; a person must look"
        )
        return Verdict(IGNORE, f"data_quality_{'over' if ended else 'open'}", f"data-quality episode{named}: {reason}")
    if kind in now.spec.on:
        return None
    return Verdict(
        IGNORE, "kind", f"{kind} episodes do not cause a training of this model (it acts on {', '.join(now.spec.on)})"
    )


def _ended(now: Situation) -> Verdict | None:
    episode = now.episode
    if episode.is_open:
        return None
    silent = episode.attempts > 0 or bool(episode.run_id) or not episode.last_rule
    word = "resolved by itself" if episode.state == RESOLVED else "superseded: its version left the plan"
    return Verdict(IGNORE, episode.state, f"the episode was {word} before it could be acted on", silent)


def _champion(now: Situation) -> Verdict | None:
    version = now.episode.version
    if version == now.champion or (version == 0 and now.champion):
        return None
    answering = f"version {now.champion} answers" if now.champion else "no version answers"
    return Verdict(
        IGNORE, "champion", f"the episode is about version {version}, and {answering}", now.episode.attempts > 0
    )


def _opened(now: Situation) -> Verdict | None:
    return None if now.episode.state == CONFIRMED else Verdict(WAIT, "opened", "not confirmed yet", silent=True)


def _running(now: Situation) -> Verdict | None:
    if not now.open_run:
        return None
    if now.open_run == now.episode.run_id:
        return Verdict(WAIT, "running", "its run is under way", silent=True)
    return Verdict(
        ATTACH, f"attach{now.open_run}", f"run {now.open_run} of this model is under way; the episode joins its causes"
    )


def _attached(now: Situation) -> Verdict | None:
    if not now.episode.run_id or not now.rollout_open:
        return None
    return Verdict(WAIT, "rollout", f"the candidate of run {now.episode.run_id} is being rolled out", silent=True)


def _data_quality(now: Situation) -> Verdict | None:
    if not now.data_quality:
        return None
    return Verdict(
        WAIT, "data_quality", f"data-quality episode {now.data_quality[0]} is open; nothing is trained on broken rows"
    )


def _cooldown(now: Situation) -> Verdict | None:
    if not now.trainings_us:
        return None
    left_s = max(now.trainings_us) / 1e6 + now.spec.cooldown_s - now.watermark_us / 1e6
    if left_s <= 0:
        return None
    return Verdict(
        WAIT, "cooldown", f"cooling down: {left_s / DAY_S:.1f} days of event time to go", bool(now.episode.run_id)
    )


def _budget(now: Situation) -> Verdict | None:
    since = now.watermark_us - BUDGET_DAYS * DAY_S * 1_000_000
    spent = sum(1 for at in now.trainings_us if at > since)
    if spent < now.spec.max_runs_per_30_days:
        return None
    return Verdict(
        WAIT, "budget", f"budget: {spent} trainings in {BUDGET_DAYS} days, {now.spec.max_runs_per_30_days} allowed"
    )
