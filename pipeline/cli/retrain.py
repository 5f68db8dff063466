"""The command ``tfx-feeder retrain``."""

import dataclasses
import signal
import sys
from datetime import datetime
from pathlib import Path

import click

from tfx_feeder.common.durations import parse_duration
from tfx_feeder.pipeline.cli.console import print_json
from tfx_feeder.pipeline.cli.options import said_plainly
from tfx_feeder.pipeline.cli.request_options import request_options
from tfx_feeder.pipeline.cli.retrain_options import policy_options
from tfx_feeder.pipeline.metadata.env import STORE_VARIABLE
from tfx_feeder.pipeline.retraining.controller import RetrainingController
from tfx_feeder.pipeline.retraining.daemon import OUTCOMES, Watch
from tfx_feeder.pipeline.retraining.policy import RetrainingDecision, RetrainingPolicy
from tfx_feeder.pipeline.retraining.triggers import OnDemand
from tfx_feeder.pipeline.run_plan import RunPlan
from tfx_feeder.pipeline.runner.launch import RunRequest

NO = 99
"""Exit status where there is no reason to retrain; Airflow's BashOperator skips upon it."""


@click.command()
@click.option(
    "--watch",
    type=click.Path(exists=True, file_okay=False),
    metavar="FOLDER",
    help="Go on until stopped, and look into this folder for spans; it stands for --data.",
)
@click.option("--once", is_flag=True, help="Decide, retrain if there is a reason, and end.")
@click.option("--decide", "only_decide", is_flag=True, help="Decide, and end.")
@click.option("--json", "as_json", is_flag=True, help="With --decide: print JSON.")
@policy_options
@click.option("--poll", default="1m", show_default=True, help="Pause between two looks.")
@click.option(
    "--settle",
    default="1m",
    show_default=True,
    help="A span counts when nothing in it has changed for as long.",
)
@click.option(
    "--metrics",
    type=click.Path(path_type=Path, dir_okay=False),
    help="JSON file that a monitor writes: metrics of the live model by name.",
)
@click.option(
    "--store",
    envvar=STORE_VARIABLE,
    show_envvar=True,
    help="With --decide: where the runs are recorded, if not below --root.",
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
    settle: str,
    metrics: Path | None,
    store: str | None,
) -> None:
    """Retrain the reference pipeline when there is a reason to.

    One of --watch, --once and --decide says how; any of --cron, --new-spans, --drift,
    --performance, --age and --now is a reason. Why a model was trained: tfx-feeder why MODEL.

    Exit status with --decide: 0 yes, 99 no. With --once: 0 done, 1 failed, 3 the model was not
    blessed, 5 another process retrains, 99 there was no reason.
    """
    if [watch is not None, once, only_decide].count(True) != 1:
        raise click.UsageError("One of --watch, --once and --decide is needed.")
    if watch is not None and any(isinstance(trigger, OnDemand) for trigger in policy.triggers):
        raise click.UsageError("--now goes with --once or --decide; a daemon may run beside it.")
    if request.plan != RunPlan():
        raise click.UsageError("--span and --decision cannot be given: both are decided here.")
    with said_plainly():
        retrainer = RetrainingController(
            request=request if watch is None else dataclasses.replace(request, data=watch),
            policy=policy,
            settle_s=parse_duration("settle", settle),
            store=store if only_decide else None,
            metrics=metrics,
        )
        if watch is not None:
            Watch(retrainer, parse_duration("poll", poll), _say).run()
            return
        if once:
            retrainer.measure()
        decision = retrainer.decide()
        _show(decision, as_json=as_json)
        if decision.plan is None:
            sys.exit(NO)
        if once:
            # The run has a process group of its own: what ends this one has to be passed on.
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            status = retrainer.retrain(decision.plan)
            click.echo(f"Retraining {OUTCOMES.get(status, f'ended with {status}')}.")
            sys.exit(status)


def _show(decision: RetrainingDecision, *, as_json: bool) -> None:
    if as_json:
        print_json({"retrain": decision.retrain, **_fields(decision)})
        return
    click.echo(f"{'Retrain' if decision.retrain else 'No'}: {'; '.join(decision.reasons)}")
    if decision.plan is not None and decision.plan.span is not None:
        click.echo(_spans(decision.plan))


def _fields(decision: RetrainingDecision) -> dict[str, object]:
    return {field.name: getattr(decision, field.name) for field in dataclasses.fields(decision)}


def _spans(plan: RunPlan) -> str:
    parts = [
        f"{part.span}" if part.share == 1 else f"{part.share:.0%} of {part.span}"
        for part in plan.earlier
    ]
    start = "the blessed model" if plan.warm_start else "scratch"
    return f"Spans: {', '.join([*parts, str(plan.span)])}; from {start}"


def _say(line: str) -> None:
    click.echo(f"{datetime.now():%Y-%m-%d %H:%M:%S} {line}")
