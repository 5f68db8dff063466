"""From a compiled pipeline to an Airflow DAG."""

# Airflow is not in the environment that types are checked in.
# pyright: reportMissingImports=false

import re
import shlex
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

try:
    from airflow.sdk import DAG, Param

    HAS_SLA = False
except ImportError:  # Airflow 2
    from airflow.models.dag import DAG
    from airflow.models.param import Param

    HAS_SLA = True

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.pipeline.orchestration import compiled_pipeline
from tfx_feeder.pipeline.orchestration.airflow.options import RunOption, Sensor, Timeouts
from tfx_feeder.pipeline.orchestration.airflow.runtimes import NO_RESOURCES, NOT_BLESSED, Runtime
from tfx_feeder.pipeline.orchestration.resources import Resources

_ABOUT_NODES = ("--resources", "--exit-handler")


def make_dag(
    dag_id: str,
    *,
    compiled: Path,
    runs: Path,
    runtime: Runtime,
    compile_options: Sequence[str],
    start_date: datetime,
    run_options: Sequence[RunOption] = (),
    waits: Sequence[Sensor] = (),
    retrain_options: Sequence[str] | None = None,
    schedule: Any = None,
    catchup: bool = False,
    accelerator_pool: str | None = None,
    limits: Timeouts | None = None,
    **dag_arguments: Any,
) -> DAG:
    """Makes the DAG of a pipeline: one run at a time, each node a task.

    Args:
        dag_id: Name of the DAG.
        compiled: What ``tfx-feeder compile`` wrote; it says which tasks there are.
        runs: Folder, as all tasks see it, for what each run compiles.
        runtime: Where nodes run.
        compile_options: Arguments of ``tfx-feeder compile`` that are the same for all runs:
            ``--root`` and others, or ``--factory``.
        start_date: Of the schedule.
        run_options: Options of ``tfx-feeder compile`` that a run may set.
        waits: What has to say yes before a run goes on, one after the other.
        retrain_options: Arguments of ``tfx-feeder retrain --decide``: a run waits until there is a
            reason to retrain, and trains on what was decided. ``None``: no reason is needed.
        schedule: Whatever Airflow takes; ``None``: runs are started by hand or by others.
        catchup: Whether runs that the schedule has missed are made up for.
        accelerator_pool: Airflow's pool with as many slots as there are accelerators.
        limits: Tries and times.
        **dag_arguments: Further arguments of Airflow's ``DAG``.

    Raises:
        ConfigError: There is no compiled pipeline, or something does not fit it.
    """
    limits = limits or Timeouts()
    file = compiled_pipeline.read(compiled)
    _check(runs, compile_options)
    for node in (*limits.nodes_s, *getattr(runtime, "nodes", ())):
        file.require(node)
    if retrain_options is not None:
        decision = f"{runs}/{{{{ run_id }}}}.decision.json"
        shared = _about_data(compile_options)
        waits = [*waits, _decision_wait([*retrain_options, *shared], decision)]
        compile_options = [*compile_options, "--decision", decision]
    late_dag, late_tasks = _lateness(limits)
    task_arguments = {
        "retries": limits.retries,
        "retry_delay": timedelta(seconds=limits.retry_delay_s),
        **late_tasks,
        **dag_arguments.pop("default_args", {}),
    }
    with DAG(
        dag_id,
        schedule=schedule,
        start_date=start_date,
        catchup=catchup,
        max_active_runs=1,
        dagrun_timeout=_seconds(limits.run_s),
        params={o.name: Param(None, type=["null", o.kind]) for o in run_options},
        default_args=task_arguments,
        **late_dag,
        **dag_arguments,
    ) as dag:
        run_file = {"IR": f"{runs}/{{{{ run_id }}}}.json"}
        before = runtime.task(
            "compile",
            _compile_script(compile_options, run_options),
            env=run_file | {option.variable: option.template for option in run_options},
        )
        last = before
        for wait in reversed(waits):
            first = runtime.wait(wait)
            last.set_upstream(first)
            last = first
        tasks = {
            node: runtime.task(
                node,
                _run_script(node, is_last=node in file.exit_handlers),
                env=run_file | {"ID": "{{ run_id }}"},
                resources=file.resources.get(node, NO_RESOURCES),
                execution_timeout=_seconds(limits.nodes_s.get(node)),
                # A pusher that was skipped keeps nothing from running; a skipped run all.
                trigger_rule="none_failed_min_one_success",
                **_pool(accelerator_pool, file.resources.get(node, NO_RESOURCES)),
            )
            for node in file.upstream
        }
        for node, upstream in file.upstream.items():
            tasks[node].set_upstream([before, *(tasks[name] for name in upstream)])
        for node in file.exit_handlers:
            tasks[node].as_teardown()
    return dag


def _about_data(options: Sequence[str]) -> list[str]:
    """Returns the options of ``tfx-feeder compile`` that ``tfx-feeder retrain`` knows as well."""
    kept, words = [], iter(options)
    for word in words:
        name, equals, _ = word.partition("=")
        if name == "--factory":
            raise ConfigError(
                "retrain_options",
                received=word,
                expected="none beside --factory: the decision is about the reference pipeline",
            )
        if name not in _ABOUT_NODES:
            kept.append(word)
        elif not equals:
            next(words, None)
    return kept


def _decision_wait(options: Sequence[str], decision: str) -> Sensor:
    decide = f"tfx-feeder retrain --decide --json {shlex.join(options)}"
    script = f'mkdir -p "$(dirname "$0")" && exec {decide} > "$0"'
    return Sensor("retrain_decision", ["bash", "-c", script, decision], every_s=300)


def _compile_script(options: Sequence[str], run_options: Sequence[RunOption]) -> str:
    words = ["exec", "tfx-feeder", "compile", shlex.join(options)]
    words += [option.argument for option in run_options]
    # Compiled once in a run: tried or cleared again, it would find another next span.
    return f'[ -e "$IR" ] || {" ".join(words)} --output "$IR"'


def _run_script(node: str, *, is_last: bool) -> str:
    run = f'exec tfx-feeder run-node --ir "$IR" --node {shlex.quote(node)} --run-id "$ID"'
    # Exit handlers run even if nothing was compiled.
    return f'[ -e "$IR" ] || exit {NOT_BLESSED}; {run}' if is_last else run


def _check(runs: Path, options: Sequence[str]) -> None:
    if not runs.is_absolute():
        raise ConfigError("runs", received=str(runs), expected="an absolute path")
    if not any(re.match("--(root|factory)(=|$)", option) for option in options):
        raise ConfigError(
            "compile_options",
            received=list(options),
            expected="--root with an absolute path, or --factory",
            fix="Tasks run in temporary folders, where the root would otherwise be.",
        )


def _lateness(limits: Timeouts) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the arguments of a DAG, and of its tasks, that tell when a run is late."""
    if limits.late_s is None:
        return {}, {}
    after = timedelta(seconds=limits.late_s)
    if HAS_SLA:
        return {"sla_miss_callback": limits.on_late}, {"sla": after}
    try:
        from airflow.sdk import DeadlineAlert, DeadlineReference
    except ImportError as error:
        raise ConfigError(
            "limits late_s",
            received=limits.late_s,
            expected="None: this release of Airflow has neither SLAs nor deadlines",
        ) from error
    alert = DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT, interval=after, callback=limits.on_late
    )
    return {"deadline": alert}, {}


def _seconds(value: float | None) -> timedelta | None:
    return None if value is None else timedelta(seconds=value)


def _pool(name: str | None, resources: Resources) -> dict[str, Any]:
    return {"pool": name, "pool_slots": resources.count} if name and resources.count else {}
