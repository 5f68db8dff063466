"""Creates an Airflow DAG from a compiled pipeline."""

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
from tfx_feeder.pipeline.metadata.env import PASSWORD_VARIABLE
from tfx_feeder.pipeline.orchestration import compiled_pipeline
from tfx_feeder.pipeline.orchestration.airflow.options import RunOption, Sensor, Timeouts
from tfx_feeder.pipeline.orchestration.airflow.runtimes import NO_RESOURCES, NOT_BLESSED, Runtime
from tfx_feeder.pipeline.orchestration.resources import Resources
from tfx_feeder.pipeline.orchestration.run_options import check_no_password

_COMPILE_ONLY = ("--resources", "--exit-handler")


def make_dag(
    dag_id: str,
    *,
    compiled: Path,
    runs: Path,
    runtime: Runtime,
    compile_options: Sequence[str],
    start_date: datetime,
    run_options: Sequence[RunOption] = (),
    sensors: Sequence[Sensor] = (),
    retrain_options: Sequence[str] | None = None,
    schedule: Any = None,
    catchup: bool = False,
    accelerator_pool: str | None = None,
    timeouts: Timeouts | None = None,
    **dag_arguments: Any,
) -> DAG:
    """Creates the DAG of a pipeline, with one task per node and at most one active run.

    Args:
        dag_id: Name of the DAG.
        compiled: File written by ``tfx-feeder compile``; it defines the tasks.
        runs: Folder for the pipelines that the runs compile, on a path that all tasks share.
        runtime: Runtime of the nodes.
        compile_options: Arguments of ``tfx-feeder compile`` that all runs share, including
            ``--root`` or ``--factory``.
        start_date: Start date of the schedule.
        run_options: Options of ``tfx-feeder compile`` that a run can set.
        sensors: Conditions for a run to continue, checked one after another.
        retrain_options: Arguments of ``tfx-feeder retrain --decide``. A run waits until there is a
            reason to retrain and follows the decision; ``None`` runs unconditionally.
        schedule: Schedule in any form that Airflow accepts; ``None`` for runs on demand.
        catchup: If True, Airflow also starts the runs that the schedule has missed.
        accelerator_pool: Name of an Airflow pool with one slot per accelerator.
        timeouts: Retries and time timeouts.
        **dag_arguments: Further arguments of Airflow's ``DAG``.

    Raises:
        ConfigError: The compiled pipeline does not exist, an argument does not match it, or an
            option contains a password.
    """
    timeouts = timeouts or Timeouts()
    pipeline = compiled_pipeline.read(compiled)
    _check(runs, compile_options)
    check_no_password(
        (*compile_options, *(retrain_options or ())),
        f"Set {PASSWORD_VARIABLE} in the environment of the runtime.",
    )
    for node in (*timeouts.nodes_s, *getattr(runtime, "nodes", ())):
        pipeline.check_node(node)
    if retrain_options is not None:
        decision = f"{runs}/{{{{ run_id }}}}.decision.json"
        shared = _shared_options(compile_options)
        sensors = [*sensors, _decision_sensor([*retrain_options, *shared], decision)]
        compile_options = [*compile_options, "--decision", decision]
    late_dag, late_tasks = _lateness(timeouts)
    task_arguments = {
        "retries": timeouts.retries,
        "retry_delay": timedelta(seconds=timeouts.retry_delay_s),
        **late_tasks,
        **dag_arguments.pop("default_args", {}),
    }
    with DAG(
        dag_id,
        schedule=schedule,
        start_date=start_date,
        catchup=catchup,
        max_active_runs=1,
        dagrun_timeout=_seconds(timeouts.run_s),
        params={o.name: Param(None, type=["null", o.kind]) for o in run_options},
        default_args=task_arguments,
        **late_dag,
        **dag_arguments,
    ) as dag:
        run_file = {"IR": f"{runs}/{{{{ run_id }}}}.json"}
        compiling = runtime.task(
            "compile",
            _compile_script(compile_options, run_options),
            env=run_file | {option.variable: option.template for option in run_options},
        )
        downstream = compiling
        for sensor in reversed(sensors):
            waiting = runtime.sensor(sensor)
            downstream.set_upstream(waiting)
            downstream = waiting
        tasks = {
            node: runtime.task(
                node,
                _run_script(node, is_last=node in pipeline.exit_handlers),
                env=run_file | {"ID": "{{ run_id }}"},
                resources=pipeline.resources.get(node, NO_RESOURCES),
                execution_timeout=_seconds(timeouts.nodes_s.get(node)),
                # A skipped pusher does not prevent its downstream nodes; a skipped run does.
                trigger_rule="none_failed_min_one_success",
                **_pool(accelerator_pool, pipeline.resources.get(node, NO_RESOURCES)),
            )
            for node in pipeline.upstream
        }
        for node, upstream in pipeline.upstream.items():
            tasks[node].set_upstream([compiling, *(tasks[name] for name in upstream)])
        for node in pipeline.exit_handlers:
            tasks[node].as_teardown()
    return dag


def _shared_options(options: Sequence[str]) -> list[str]:
    """Returns the options of ``tfx-feeder compile`` that ``tfx-feeder retrain`` accepts as well."""
    shared, words = [], iter(options)
    for word in words:
        name, equals, _ = word.partition("=")
        if name == "--factory":
            raise ConfigError(
                "retrain_options",
                received=word,
                expected="no --factory, because the decision is about the reference pipeline",
            )
        if name not in _COMPILE_ONLY:
            shared.append(word)
        elif not equals:
            next(words, None)
    return shared


def _decision_sensor(options: Sequence[str], decision: str) -> Sensor:
    decide = f"tfx-feeder retrain --decide --json {shlex.join(options)}"
    script = f'mkdir -p "$(dirname "$0")" && exec {decide} > "$0"'
    return Sensor("retrain_decision", ["bash", "-c", script, decision], every_s=300)


def _compile_script(options: Sequence[str], run_options: Sequence[RunOption]) -> str:
    words = ["exec", "tfx-feeder", "compile", shlex.join(options)]
    words += [option.argument for option in run_options]
    # Compile once per run: a retried or cleared task would select another next span.
    return f'[ -e "$IR" ] || {" ".join(words)} --output "$IR"'


def _run_script(node: str, *, is_last: bool) -> str:
    run = f'exec tfx-feeder run-node --ir "$IR" --node {shlex.quote(node)} --run-id "$ID"'
    # Exit handlers run even if the compilation failed.
    return f'[ -e "$IR" ] || exit {NOT_BLESSED}; {run}' if is_last else run


def _check(runs: Path, options: Sequence[str]) -> None:
    if not runs.is_absolute():
        raise ConfigError("runs", received=str(runs), expected="an absolute path")
    if not any(re.match("--(root|factory)(=|$)", option) for option in options):
        raise ConfigError(
            "compile_options",
            received=list(options),
            expected="--root with an absolute path, or --factory",
            fix="Set the root, which would otherwise be in the temporary folder of a task.",
        )


def _lateness(timeouts: Timeouts) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the arguments of a DAG and of its tasks that report late runs."""
    if timeouts.late_s is None:
        return {}, {}
    after = timedelta(seconds=timeouts.late_s)
    if HAS_SLA:
        return {"sla_miss_callback": timeouts.on_late}, {"sla": after}
    try:
        from airflow.sdk import DeadlineAlert, DeadlineReference
    except ImportError as error:
        raise ConfigError(
            "timeouts late_s",
            received=timeouts.late_s,
            expected="None, because this release of Airflow has neither SLAs nor deadlines",
        ) from error
    alert = DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT, interval=after, callback=timeouts.on_late
    )
    return {"deadline": alert}, {}


def _seconds(value: float | None) -> timedelta | None:
    return None if value is None else timedelta(seconds=value)


def _pool(name: str | None, resources: Resources) -> dict[str, Any]:
    return {"pool": name, "pool_slots": resources.count} if name and resources.count else {}
