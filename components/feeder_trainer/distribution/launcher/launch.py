"""Launches the processes that a training strategy needs."""

import dataclasses
import os
from collections.abc import Callable
from typing import TypeVar

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.distribution.cluster import (
    GPU_VARIABLE,
    NO_GPUS,
    ClusterTask,
    ProcessTopology,
)
from tfx_feeder.components.feeder_trainer.distribution.devices import visible_gpus
from tfx_feeder.components.feeder_trainer.distribution.launcher.rendezvous import run_chief
from tfx_feeder.components.feeder_trainer.distribution.launcher.supervisor import (
    LaunchResult,
    launch_processes,
)
from tfx_feeder.components.feeder_trainer.distribution.options import (
    DEFAULT_RESTARTS,
    ClusterStrategy,
    Strategy,
)
from tfx_feeder.components.feeder_trainer.distribution.strategy_info import STRATEGIES

Spec = TypeVar("Spec")
Result = TypeVar("Result")


def run_in_processes(
    function: Callable[[Spec, ClusterTask | None], Result],
    spec: Spec,
    strategy: Strategy,
    log_dir: str,
    *,
    has_successor: bool = False,
) -> LaunchResult[Result]:
    """Runs a function in the processes that a strategy needs.

    Args:
        function: Importable function; called with ``spec`` and the task of its process.
        spec: First argument of the function; sent to the processes as a pickle.
        strategy: Strategy whose processes to start.
        log_dir: Folder with one log file per process.
        has_successor: True if another call may follow, for which the workers of an orchestrator's
            cluster wait.

    Raises:
        ConfigError: ``cluster="env"``, and ``TF_CONFIG`` is not set; or the machine has GPUs, but
            fewer than workers.
        FeederError: See ``launch_processes`` and ``run_chief``.
    """
    clustered = isinstance(strategy, ClusterStrategy)
    if clustered and strategy.cluster == "env":
        task = ClusterTask.required_from_env(os.environ)
        return LaunchResult(
            run_chief(function, spec, task, log_dir=log_dir, has_successor=has_successor)
        )
    topology = ProcessTopology(STRATEGIES[strategy.name].launch_mode)
    if clustered:
        workers, gpus = num_workers(strategy.cluster), visible_gpus(os.environ)
        if lack := lack_of_gpus(workers, len(gpus)):
            raise ConfigError(
                "strategy cluster",
                received=strategy.cluster,
                expected=f"a GPU for each worker, but {lack}",
                fix=f"Set cluster='local:{len(gpus)}', or {GPU_VARIABLE}={NO_GPUS} in the "
                "environment of the Trainer to use the CPU.",
            )
        topology = dataclasses.replace(topology, workers=workers, gpus=gpus)
    restarts = strategy.restarts if clustered else DEFAULT_RESTARTS
    return launch_processes(function, spec, topology, log_dir=log_dir, restarts=restarts)


def lack_of_gpus(workers: int, gpus: int) -> str | None:
    """Returns the reason why workers cannot share the GPUs of this machine; ``None`` if they can.

    Without GPUs, the workers use the CPU.

    Args:
        workers: Number of workers on this machine.
        gpus: Number of its GPUs.
    """
    return f"{workers} workers have {gpus} GPUs" if 0 < gpus < workers else None


def num_workers(cluster: str) -> int:
    """Returns the number of workers of a cluster.

    Args:
        cluster: ``"local:2"``, or ``"env"`` for the cluster that ``TF_CONFIG`` describes; without
            that variable, the number is 1.
    """
    if cluster != "env":
        return int(cluster.partition(":")[2])
    task = ClusterTask.from_env(os.environ)
    if task is None:
        return 1
    return len(task.cluster["worker"] if "ps" in task.cluster else task.trainers)
