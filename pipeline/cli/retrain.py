"""The command ``tfx-feeder retrain``."""

import dataclasses
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import click

from tfx_feeder.common.durations import parse_duration
from tfx_feeder.common.errors import printable
from tfx_feeder.pipeline.cli.console import print_json
from tfx_feeder.pipeline.cli.options import parsed_options, request_options
from tfx_feeder.pipeline.metadata.env import STORE_VARIABLE
from tfx_feeder.pipeline.retraining.controller import RetrainingController
from tfx_feeder.pipeline.retraining.daemon import OUTCOMES, RetrainingDaemon
from tfx_feeder.pipeline.retraining.policy import RetrainingDecision, RetrainingPolicy, RunBudget
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
from tfx_feeder.pipeline.run_plan import RunPlan
from tfx_feeder.pipeline.runner.launch import INTERRUPTED, RunRequest, interrupted_by_signals

NO = 99
"""Exit status if no trigger fires; Airflow's BashOperator skips downstream tasks on it."""


def _make_policy(
    cron: str | None,
    timezone: str,
    new_spans: int | None,
    drift: float | None,
    drift_feature: tuple[str, ...],
    performance: tuple[str, ...],
    age: str | None,
    reason: str | None,
    cool_down: str,
    budget: tuple[str, ...],
    window: str,
    scratch_every: int | None,
    early_stop_after: int | None,
) -> dict[str, RetrainingPolicy]:
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
        if reason is not None:
            yield OnDemand(reason)

    policy = RetrainingPolicy(
        triggers=tuple(triggers()) or (NewSpan(),),
        cool_down_s=parse_duration("cool_down", cool_down),
        budgets=tuple(map(RunBudget.parse, budget)),
        window=Window.parse(window),
        scratch_every=scratch_every,
        early_stop_after=early_stop_after,
    )
    return {"policy": policy}


policy_options = parsed_options(
    (
        click.option("--cron", metavar="CRON", help="Retrain at these times, as in '0 3 * * 1'."),
        click.option("--timezone", default="UTC", show_default=True, help="Time zone of --cron."),
        click.option(
            "--new-spans",
            type=int,
            metavar="N",
            help="Retrain when N spans have arrived.  [default: 1]",
        ),
        click.option(
            "--drift",
            type=float,
            metavar="DISTANCE",
            help="Retrain when a feature of the newest span differs significantly from the "
            "training data of the live model, and by more than this above the noise: L-infinity "
            "distance of categorical features, Jensen-Shannon divergence of numeric ones.",
        ),
        click.option(
            "--drift-feature",
            multiple=True,
            help="Feature that --drift checks; repeatable.  [default: all features]",
        ),
        click.option(
            "--performance",
            multiple=True,
            metavar="CONDITION",
            help="Retrain when the live model violates this condition: 'accuracy>=0.9', "
            "'loss<=0.4', or 'accuracy-0.02' for a maximum drop; repeatable.",
        ),
        click.option(
            "--age",
            metavar="DURATION",
            help="Retrain when the live model is older than this, as in 7d.",
        ),
        click.option(
            "--reason",
            metavar="TEXT",
            help="Retrain now, ignoring cool-down and budget; TEXT is recorded.",
        ),
        click.option(
            "--cool-down",
            default="1h",
            show_default=True,
            help="Minimum pause after a training.",
        ),
        click.option(
            "--budget",
            multiple=True,
            metavar="AMOUNT/PERIOD",
            help="Maximum number of runs, or maximum training time, per period: 4/7d, 2h/7d; "
            "repeatable.",
        ),
        click.option(
            "--window",
            default="latest",
            show_default=True,
            help="Spans to train on: latest, all, rolling:K (the newest K) or weighted:D (all, "
            "each with D times the weight of the next newer one).",
        ),
        click.option(
            "--scratch-every",
            type=int,
            metavar="N",
            help="Train every N-th model from scratch.  [default: none]",
        ),
        click.option(
            "--early-stop-after",
            type=int,
            metavar="EPOCHS",
            help="Stop a training that can no longer match the blessed model, judged by its "
            "recent progress, after this many epochs at the earliest.  [default: never stop]",
        ),
    ),
    _make_policy,
)
"""Adds the options of a retraining policy to a command, which receives ``policy``."""


@click.command()
@click.option(
    "--watch",
    type=click.Path(exists=True, file_okay=False),
    metavar="FOLDER",
    help="Watch this folder for new spans until stopped; replaces --data.",
)
@click.option("--once", is_flag=True, help="Retrain once if a trigger fires.")
@click.option("--decide", "only_decide", is_flag=True, help="Print the decision; do not retrain.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; with --decide.")
@policy_options
@click.option("--poll", default="1m", show_default=True, help="Interval between two checks.")
@click.option(
    "--quiet-period",
    default="1m",
    show_default=True,
    help="Time without changes after which a span counts as complete.",
)
@click.option(
    "--metrics",
    type=click.Path(path_type=Path, dir_okay=False),
    help="JSON file with the metrics of the live model by name, written by a monitor.",
)
@click.option(
    "--store",
    envvar=STORE_VARIABLE,
    show_envvar=True,
    help="ML Metadata store of the runs; with --decide.  [default: the one in --root]",
)
@request_options
def retrain(
    request: RunRequest,
    policy: RetrainingPolicy,
    watch: str | None,
    once: bool,
    only_decide: bool,
    as_json: bool,
    poll: str,
    quiet_period: str,
    metrics: Path | None,
    store: str | None,
) -> None:
    """Retrain the reference pipeline when a trigger fires.

    Give one of --watch, --once and --decide. Triggers: --cron, --new-spans, --drift,
    --performance, --age and --reason. `tfx-feeder why MODEL` shows why a model was trained.

    Exit status with --decide: 0 retrain, 99 no trigger fired. With --once: 0 done, 1 failed, 3 the
    model was not blessed, 5 another process retrains, 99 no trigger fired.
    """
    if [watch is not None, once, only_decide].count(True) != 1:
        raise click.UsageError("Give one of --watch, --once and --decide.")
    if watch is not None and any(isinstance(trigger, OnDemand) for trigger in policy.triggers):
        raise click.UsageError(
            "--reason requires --once or --decide. Both can run beside a process with --watch."
        )
    if request.plan != RunPlan():
        raise click.UsageError("--span and --decision are not options of retrain, which sets both.")
    controller = RetrainingController(
        request=dataclasses.replace(
            request, command="tfx-feeder retrain", **({} if watch is None else {"data": watch})
        ),
        policy=policy,
        quiet_period_s=parse_duration("quiet_period", quiet_period),
        store=store if only_decide else None,
        metrics=metrics,
    )
    if watch is not None:
        sys.exit(RetrainingDaemon(controller, parse_duration("poll", poll), _echo).run())
    # A run has its own process group, so signals must be forwarded to it.
    with interrupted_by_signals():
        if once:
            controller.collect_statistics()
            if controller.stopping:
                sys.exit(INTERRUPTED)
        decision = controller.decide()
        _show(decision, as_json=as_json)
        if decision.plan is None:
            sys.exit(NO)
        if not once:
            return
        status = controller.retrain(decision.plan)
    click.echo(f"Retraining {OUTCOMES.get(status, f'ended with {status}')}.")
    sys.exit(status)


def _show(decision: RetrainingDecision, *, as_json: bool) -> None:
    if as_json:
        fields = {
            field.name: getattr(decision, field.name) for field in dataclasses.fields(decision)
        }
        print_json({"retrain": decision.retrain, **fields})
        return
    reasons = printable("; ".join(decision.reasons))
    click.echo(f"{'Retrain' if decision.retrain else 'No'}: {reasons}")
    if decision.plan is not None and decision.plan.span is not None:
        click.echo(_spans(decision.plan))


def _spans(plan: RunPlan) -> str:
    earlier = [
        f"{part.span}" if part.fraction == 1 else f"{part.fraction:.0%} of {part.span}"
        for part in plan.earlier
    ]
    start = "the blessed model" if plan.warm_start else "scratch"
    return f"Spans: {', '.join([*earlier, str(plan.span)])}; from {start}"


def _echo(line: str) -> None:
    click.echo(f"{datetime.now():%Y-%m-%d %H:%M:%S} {printable(line)}")
