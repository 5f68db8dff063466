"""Where the nodes of a pipeline run, and so which operators of Airflow's their tasks are."""

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

NOT_BLESSED = 3
"""Exit status of ``run-node`` for a pusher that had nothing to push: the task is skipped."""
NOT_YET = 99
"""Exit status of a command that is waited for: not yet."""
NO_RESOURCES = Resources()


class Runtime(Protocol):
    """Where nodes run, and so which operator their tasks are."""

    def task(self, task_id: str, script: str, *, env: Mapping[str, str], **arguments: Any) -> Any:
        """Returns a task that runs a script for bash.

        Args:
            task_id: Name of the task.
            script: With the command ``tfx-feeder``.
            env: Templates of environment variables.
            **arguments: ``resources``, and what every operator of Airflow's takes.
        """
        ...

    def wait(self, wait: Sensor) -> Any:
        """Returns a task that waits."""
        ...


@dataclass(frozen=True, slots=True)
class Bash:
    """On the workers of Airflow's, in the pipeline's own environment.

    Args:
        bin: Folder with that environment's programs.
        env: Further environment variables; templates, such as
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
        """Returns a ``BashOperator``; a worker gives what it has, whatever the resources."""
        return BashOperator(
            task_id=task_id,
            bash_command=self._on_path(script),
            env={**self.env, **env},
            append_env=True,
            skip_on_exit_code=NOT_BLESSED,
            do_xcom_push=False,
            **arguments,
        )

    def wait(self, wait: Sensor) -> Any:
        """Returns a ``BashSensor``, which leaves its worker between two tries."""
        # The sensor's own ``env`` would replace the worker's environment.
        exports = "".join(f"export {name}={shlex.quote(v)}\n" for name, v in self.env.items())
        return BashSensor(
            task_id=wait.task_id,
            bash_command=exports + self._on_path(wait.script),
            retry_exit_code=NOT_YET,
            mode="reschedule",
            poke_interval=wait.every_s,
            timeout=wait.timeout_s,
            do_xcom_push=False,
        )

    def _on_path(self, script: str) -> str:
        return f'PATH={shlex.quote(str(self.bin))}:"$PATH"\n{script}'


@dataclass(frozen=True, slots=True)
class Kubernetes:
    """In one pod per node.

    Args:
        image: With the pipeline's environment, and bash.
        env: Further environment variables; templates.
        pod: Further arguments of every ``KubernetesPodOperator``: ``namespace``, ``volumes`` and
            ``volume_mounts`` of the pipeline's root, ``service_account_name`` and the like.
        nodes: Those of single nodes, by node id; they take the place of those of ``pod``, and
            ``env_vars`` is added to ``env``. With ``labels`` and ``env_vars`` from a ``Cluster``,
            FeederTrainer is its chief.
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
        """Returns a ``KubernetesPodOperator`` with the node's resources."""
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

    def wait(self, wait: Sensor) -> Any:
        """Returns a task that is skipped if the answer is not yet."""
        timeout = timedelta(seconds=wait.timeout_s)
        return self.task(
            wait.task_id, wait.script, env={}, skip_on=NOT_YET, execution_timeout=timeout
        )


def _container(resources: Resources) -> Any:
    from kubernetes.client import V1ResourceRequirements

    memory = {"memory": resources.memory} if resources.memory else {}
    accelerator = {resources.accelerator: str(resources.count)} if resources.count else {}
    cpu = {"cpu": resources.cpu} if resources.cpu else {}
    return V1ResourceRequirements(requests=cpu | memory, limits=memory | accelerator)
