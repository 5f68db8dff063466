"""The options of ``tfx-feeder retrain`` that make a policy."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import click

from tfx_feeder.common.durations import parse_duration
from tfx_feeder.common.errors import ConfigError
from tfx_feeder.pipeline.retraining.policy import RetrainingPolicy, RunBudget
from tfx_feeder.pipeline.retraining.triggers import (
    Cron,
    DataDrift,
    ModelAge,
    NewSpan,
    OnDemand,
    PerformanceDrop,
    Trigger,
)
from tfx_feeder.pipeline.retraining.window import Window

_OPTIONS = (
    click.option("--cron", metavar="CRON", help="At these times, as in '0 3 * * 1'."),
    click.option("--timezone", default="UTC", show_default=True, help="Of --cron."),
    click.option(
        "--new-spans", type=int, metavar="N", help="When N spans have arrived.  [default: 1]"
    ),
    click.option(
        "--drift",
        type=float,
        metavar="DISTANCE",
        help="When a feature of the newest span is farther than this from what the live model was "
        "trained on: L-infinity of categories, Jensen-Shannon of numbers.",
    ),
    click.option("--drift-feature", multiple=True, help="Of --drift, those that count."),
    click.option(
        "--performance",
        multiple=True,
        metavar="CONDITION",
        help="When this does not hold for the live model: 'accuracy>=0.9', 'loss<=0.4', or "
        "'accuracy-0.02' for a drop.",
    ),
    click.option("--age", metavar="DURATION", help="When the live model is older, as in 7d."),
    click.option("--now", metavar="REASON", help="Now, whatever cool-down and budget say."),
    click.option(
        "--cool-down",
        default="1h",
        show_default=True,
        help="Least pause after a training.",
    ),
    click.option(
        "--budget",
        multiple=True,
        metavar="AMOUNT/PERIOD",
        help="Most runs or most time in training per period: 4/7d, 2h/7d.",
    ),
    click.option(
        "--window",
        default="latest",
        show_default=True,
        help="Spans to train on: latest, all, rolling:K (the newest K) or weighted:D (all, and of "
        "each D of what is taken of the next).",
    ),
    click.option(
        "--scratch-every",
        type=int,
        metavar="N",
        help="Every N-th training starts from scratch.  [default: none]",
    ),
    click.option(
        "--give-up-after",
        type=int,
        metavar="EPOCHS",
        help="From then on, stop a training that cannot come up to the blessed model, by the most "
        "that its latest epochs let expect.  [default: train to the end]",
    ),
)


def policy_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options to a click command, which is called with a ``RetrainingPolicy``."""

    @functools.wraps(command)
    def wrapped(
        cron: str | None,
        timezone: str,
        new_spans: int | None,
        drift: float | None,
        drift_feature: tuple[str, ...],
        performance: tuple[str, ...],
        age: str | None,
        now: str | None,
        cool_down: str,
        budget: tuple[str, ...],
        window: str,
        scratch_every: int | None,
        give_up_after: int | None,
        **others: Any,
    ) -> Any:
        def triggers() -> Iterator[Trigger]:
            if cron is not None:
                yield Cron(cron, timezone)
            if new_spans is not None:
                yield NewSpan(new_spans)
            if drift is not None:
                yield DataDrift(drift, drift, drift_feature)
            yield from map(PerformanceDrop.parse, performance)
            if age is not None:
                yield ModelAge(parse_duration("age", age))
            if now is not None:
                yield OnDemand(now)

        try:
            policy = RetrainingPolicy(
                triggers=tuple(triggers()) or (NewSpan(),),
                cool_down_s=parse_duration("cool_down", cool_down),
                budgets=tuple(map(RunBudget.parse, budget)),
                window=Window.parse(window),
                scratch_every=scratch_every,
                give_up_after=give_up_after,
            )
        except ConfigError as error:
            raise click.UsageError(str(error)) from error
        return command(policy=policy, **others)

    return functools.reduce(lambda decorated, option: option(decorated), _OPTIONS[::-1], wrapped)
