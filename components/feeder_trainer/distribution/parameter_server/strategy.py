"""Parameter servers: servers hold the variables, workers compute gradients, a coordinator directs.

The coordinator runs the ordinary training loop and reads batches from the ordinary feed, in the
same order as single-device training; it ships each batch to a worker with the call, because
``ClusterCoordinator`` selects the worker only when it starts the call.

Asynchronous: a whole batch goes to the next idle worker, which applies its gradient to the servers'
variables immediately (Dean et al., NeurIPS 2012, "Large Scale Distributed Deep Networks"; Li et
al., OSDI 2014, "Scaling Distributed Machine Learning with the Parameter Server"). Updates that
other workers applied in the meantime make the gradient stale. Synchronous: each worker receives a
shard of the batch; the coordinator waits for all of them, sums the gradients and applies the sum,
which gives the result of single-device training. It updates the metrics while the workers compute
the next batch.

If a worker dies, its call is rescheduled; the worker rejoins when it is reachable again. Every
example is trained on at least once: an asynchronous call is repeated if its worker died after it
applied its gradient and before it reported so. A synchronous gradient is applied exactly once. If
no worker is left, or a parameter server is lost, the run ends and resumes from its checkpoint.
"""

import functools
import os
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.distribution.cluster import (
    VARIABLE,
    ClusterTask,
    restricted_server,
)
from tfx_feeder.components.feeder_trainer.distribution.context import DistributionContext
from tfx_feeder.components.feeder_trainer.distribution.options import ParameterServer, Strategy
from tfx_feeder.components.feeder_trainer.distribution.parameter_server.asynchronous import (
    AsynchronousSteps,
)
from tfx_feeder.components.feeder_trainer.distribution.parameter_server.synchronous import (
    SynchronousSteps,
)
from tfx_feeder.components.feeder_trainer.distribution.parameter_server.workers import (
    TIMEOUT_S,
    WorkerPool,
    wait_for_servers,
)
from tfx_feeder.components.feeder_trainer.distribution.strategy_info import STRATEGIES


def open_context(
    strategy: Strategy, task: ClusterTask | None, *, timeout_s: float = TIMEOUT_S
) -> DistributionContext:
    """See ``context.open_context``; connects to the servers when all of them have started.

    Args:
        strategy: Asynchronous or synchronous parameter servers.
        task: Task of the chief in a cluster of workers and parameter servers.
        timeout_s: Time without any reachable worker after which training fails, in seconds.

    Raises:
        ConfigError: The task is not the chief of such a cluster.
        WorkerLostError: A server did not start.
    """
    task = task or ClusterTask.required_from_env(os.environ)
    if task.type != "chief" or not {"worker", "ps"} <= task.cluster.keys():
        raise ConfigError(
            VARIABLE,
            received=task,
            expected=f"the chief of a cluster with workers and ps, for strategy {strategy.name}",
        )
    addresses = task.cluster["worker"]
    wait_for_servers((*addresses, *task.cluster["ps"]))
    # A call to a process that has exited fails instead of waiting for its return.
    os.environ.setdefault("GRPC_FAIL_FAST", "use_caller")
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({type_: list(each) for type_, each in task.cluster.items()}),
        task_type=task.type,
        task_id=task.index,
        rpc_layer="grpc",
    )
    with restricted_server(task):
        servers = tf.distribute.experimental.ParameterServerStrategy(resolver)
    workers = WorkerPool(servers, addresses, timeout_s=timeout_s)
    synchronous = STRATEGIES[strategy.name].synchronous
    steps: Callable[..., Any] = SynchronousSteps
    if isinstance(strategy, ParameterServer):
        corrects = strategy.momentum == "corrected"
        steps = functools.partial(AsynchronousSteps, corrects_momentum=corrects)
    return DistributionContext(
        functools.partial(steps, strategy.name, servers, workers),
        scope=servers.scope,
        replicas=workers.size if synchronous else 1,
        # While a worker computes one gradient, each other worker applies one on average.
        staleness=0.0 if synchronous else workers.size - 1.0,
    )
