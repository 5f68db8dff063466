"""Says what DAGs calls of ``make_dag`` make. Runs in Airflow's environment.

Code that makes a ``dag`` is read from the standard input, JSON by name, and what each makes is
printed in the same form. Templates are shown as a run of 2026-01-04 sees them.
"""

import json
import sys
from datetime import datetime, timezone
from types import SimpleNamespace
from typing import Any

import jinja2

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.pipeline.orchestration import airflow


def describe(dag: Any) -> dict[str, Any]:
    run = SimpleNamespace(logical_date=datetime(2026, 1, 4, tzinfo=timezone.utc))
    context = {"dag": dag, "dag_run": run, "run_id": "r1", "params": dag.params.dump()}
    return {
        "catchup": dag.catchup,
        "max_active_runs": dag.max_active_runs,
        "run_s": dag.dagrun_timeout and dag.dagrun_timeout.total_seconds(),
        "tags": sorted(dag.tags),
        "late": bool(getattr(dag, "deadline", None) or getattr(dag, "sla_miss_callback", None)),
        "params": sorted(dag.params),
        "tasks": {task.task_id: describe_task(task, context) for task in dag.tasks},
    }


def describe_task(task: Any, context: dict[str, Any]) -> dict[str, Any]:
    def rendered(template: str) -> str:
        return jinja2.Template(template, undefined=jinja2.StrictUndefined).render(context)

    env = getattr(task, "env", None) or getattr(task, "env_vars", None) or {}
    if isinstance(env, list):  # Older releases of the Kubernetes provider
        env = {variable.name: variable.value for variable in env}
    resources = getattr(task, "container_resources", None)
    return {
        "operator": type(task).__name__,
        "upstream": sorted(task.upstream_task_ids),
        "teardown": task.is_teardown,
        "retries": task.retries,
        "retry_delay_s": task.retry_delay.total_seconds(),
        "pool": [task.pool, task.pool_slots],
        "timeout_s": task.execution_timeout and task.execution_timeout.total_seconds(),
        "script": rendered(getattr(task, "bash_command", None) or task.arguments[0]),
        "env": {name: rendered(value) for name, value in env.items()},
        "skip": getattr(task, "skip_on_exit_code", None),
        "not_yet": getattr(task, "retry_exit_code", None),
        "image": getattr(task, "image", None),
        "namespace": getattr(task, "namespace", None),
        "labels": getattr(task, "labels", None),
        "resources": resources and {"requests": resources.requests, "limits": resources.limits},
    }


def made_by(code: str) -> dict[str, Any]:
    scope = {name: getattr(airflow, name) for name in airflow.__all__}
    try:
        exec(code, scope)
    except ConfigError as error:
        return {"error": str(error)}
    return describe(scope["dag"])


if __name__ == "__main__":
    calls = json.load(sys.stdin)
    print(json.dumps({name: made_by(code) for name, code in calls.items()}))
