"""Runtimes of nodes: on Airflow workers or in pods, each with the matching Airflow operators."""

# Airflow is not in the environment that types are checked in.
# pyright: reportMissingImports=false

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

try:
    from airflow.providers.standard.operators.bash import BashOperator
    from airflow.providers.standard.sensors.bash import BashSensor
except ImportError:  # Airflow 2 without the provider
    from airflow.operators.bash import BashOperator
    from airflow.sensors.bash import BashSensor

from tfx_feeder.pipeline.orchestration.airflow.options import Sensor
from tfx_feeder.pipeline.orchestration.resources import Resources
from tfx_feeder.pipeline.orchestration.run_options import quoted_template

NOT_BLESSED = 3
"""Exit status of ``run-node`` for a pusher without a blessed model; the task is skipped."""
NOT_YET = 99
"""Exit status of a sensor's command that means "not yet"."""
NO_RESOURCES = Resources()


class Runtime(Protocol):
    """Creates the tasks of a DAG."""

    def task(self, task_id: str, script: str, *, env: Mapping[str, str], **arguments: Any) -> Any:
        """Returns a task that runs a bash script.

        Args:
            task_id: Name of the task.
            script: Bash script that calls ``tfx-feeder``.
            env: Templates of environment variables.
            **arguments: ``resources``, and arguments that all Airflow operators accept.
        """
        ...

    def sensor(self, sensor: Sensor) -> Any:
        """Returns the task of a sensor."""
        ...


@dataclass(frozen=True, slots=True)
class Bash:
    """Runs nodes on Airflow workers, in the environment of the pipeline.

    Args:
        bin: Folder with the programs of the environment.
        env: Templates of further environment variables, such as
            ``{"TFX_FEEDER_STORE": "{{ var.value.mlmd_store }}"}``.
    """

    bin: Path
    env: Mapping[str, str] = field(default_factory=dict)

    def task(
        self,
        task_id: str,
        script: str,
        *,
        env: Mapping[str, str],
        resources: Resources = NO_RESOURCES,
        **arguments: Any,
    ) -> Any:
        """Returns a ``BashOperator``.

        Args:
            task_id: Name of the task.
            script: Bash script that calls ``tfx-feeder``.
            env: Templates of environment variables.
            resources: Ignored, because workers have fixed resources.
            **arguments: Further arguments of the operator.
        """
        return BashOperator(
            task_id=task_id,
            bash_command=self._on_path(script),
            env={**self.env, **env},
            append_env=True,
            skip_on_exit_code=NOT_BLESSED,
            do_xcom_push=False,
            **arguments,
        )

    def sensor(self, sensor: Sensor) -> Any:
        """Returns a ``BashSensor``, which releases its worker between two attempts."""
        # The argument ``env`` of a BashSensor would replace the environment of the worker.
        exports = "".join(f"export {name}={quoted_template(v)}\n" for name, v in self.env.items())
        return BashSensor(
            task_id=sensor.task_id,
            bash_command=exports + self._on_path(sensor.script),
            retry_exit_code=NOT_YET,
            mode="reschedule",
            poke_interval=sensor.every_s,
            timeout=sensor.timeout_s,
            do_xcom_push=False,
        )

    def _on_path(self, script: str) -> str:
        return f'PATH={shlex.quote(str(self.bin))}:"$PATH"\n{script}'


@dataclass(frozen=True, slots=True)
class Kubernetes:
    """Runs each node in a pod of its own.

    Args:
        image: Container image with the environment of the pipeline, and bash.
        env: Templates of further environment variables.
        pod: Further arguments for every ``KubernetesPodOperator``, such as ``namespace``,
            ``service_account_name``, and ``volumes`` and ``volume_mounts`` for the root.
        nodes: Further arguments for individual nodes, by node id; they override ``pod``, and
            ``env_vars`` extends ``env``. With the ``labels`` and ``env_vars`` of a ``Cluster``,
            FeederTrainer becomes its chief.
    """

    image: str
    env: Mapping[str, str] = field(default_factory=dict)
    pod: Mapping[str, Any] = field(default_factory=dict)
    nodes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def task(
        self,
        task_id: str,
        script: str,
        *,
        env: Mapping[str, str],
        resources: Resources = NO_RESOURCES,
        skip_on: int = NOT_BLESSED,
        **arguments: Any,
    ) -> Any:
        """Returns a ``KubernetesPodOperator``.

        Args:
            task_id: Name of the task.
            script: Bash script that calls ``tfx-feeder``.
            env: Templates of environment variables.
            resources: Resource request of the pod.
            skip_on: Exit status that marks the task as skipped.
            **arguments: Further arguments of the operator.
        """
        from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator

        of_node = dict(self.nodes.get(task_id, {}))
        return KubernetesPodOperator(
            task_id=task_id,
            image=self.image,
            cmds=["bash", "-c"],
            arguments=[script],
            env_vars={**self.env, **of_node.pop("env_vars", {}), **env},
            container_resources=_container(resources),
            skip_on_exit_code=skip_on,
            **{**self.pod, **of_node, **arguments},
        )

    def sensor(self, sensor: Sensor) -> Any:
        """Returns a task that is skipped if the answer is "not yet"."""
        timeout = timedelta(seconds=sensor.timeout_s)
        return self.task(
            sensor.task_id, sensor.script, env={}, skip_on=NOT_YET, execution_timeout=timeout
        )


def _container(resources: Resources) -> Any:
    from kubernetes.client import V1ResourceRequirements

    memory = {"memory": resources.memory} if resources.memory else {}
    accelerator = {resources.accelerator: str(resources.count)} if resources.count else {}
    cpu = {"cpu": resources.cpu} if resources.cpu else {}
    return V1ResourceRequirements(requests=cpu | memory, limits=memory | accelerator)
