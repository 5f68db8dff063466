"""Properties of the distribution strategies."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

LaunchMode = Literal["in_process", "subprocess", "workers", "parameter_servers"]
"""How the processes of a strategy start.

- ``"in_process"``: training runs in the process of the Trainer.
- ``"subprocess"``: training runs in a separate process, because devices are configured before
  TensorFlow starts.
- ``"workers"``: training runs in one process per worker; each runs the training loop.
- ``"parameter_servers"``: a chief runs the training loop; workers and parameter servers serve it.
"""

_PACKAGE = "tfx_feeder.components.feeder_trainer.distribution."


@dataclass(frozen=True, slots=True)
class StrategyInfo:
    """Properties of a strategy.

    Args:
        name: Name of the strategy.
        description: Summary in one sentence.
        requires: Required hardware or cluster.
        launch_mode: Processes that run the training.
        batch_split: Distribution of a global batch.
        module: Module whose ``open_context`` opens the strategy.
        unsupported: Unsupported options, from ``"loop deterministic"``,
            ``"loop max_micro_batch_size"``, and ``"schedule"`` for one that follows the gradient
            noise scale.
        synchronous: True if every update uses the gradients of one whole global batch.
    """

    name: str
    description: str
    requires: str
    launch_mode: LaunchMode
    batch_split: str
    module: str
    unsupported: tuple[str, ...] = ()
    synchronous: bool = True


STRATEGIES: Mapping[str, StrategyInfo] = {
    info.name: info
    for info in (
        StrategyInfo(
            "sequential",
            "One device; cheapest whenever it meets the deadline.",
            "one device",
            "in_process",
            "none",
            _PACKAGE + "single_device",
        ),
        StrategyInfo(
            "mirrored",
            "Synchronous, one machine; each device holds a copy of the variables.",
            "several devices in one machine",
            "subprocess",
            "a shard per device",
            _PACKAGE + "mirrored",
        ),
        StrategyInfo(
            "central_storage",
            "Synchronous, one machine; the variables stay on the CPU.",
            "several devices in one machine",
            "subprocess",
            "a shard per device",
            _PACKAGE + "central_storage",
        ),
        StrategyInfo(
            "multi_worker",
            "Synchronous, several machines; gradients are all-reduced.",
            "a cluster of workers",
            "workers",
            "a shard per device of each worker",
            _PACKAGE + "mirrored",
        ),
        StrategyInfo(
            "parameter_server",
            "Asynchronous, several machines; each worker updates the servers' variables.",
            "a cluster of workers and parameter servers",
            "parameter_servers",
            "whole batches, each to the next idle worker",
            _PACKAGE + "parameter_server.strategy",
            unsupported=("loop deterministic", "loop max_micro_batch_size", "schedule"),
            synchronous=False,
        ),
        StrategyInfo(
            "parameter_server_sync",
            "Synchronous, several machines; the workers' gradients are averaged before an update.",
            "a cluster of workers and parameter servers",
            "parameter_servers",
            "a shard per worker",
            _PACKAGE + "parameter_server.strategy",
        ),
        StrategyInfo(
            "peer_averaging",
            "Decentralized, several machines; workers average weights received from peers.",
            "a cluster of workers",
            "workers",
            "a shard per worker",
            _PACKAGE + "peer_averaging.strategy",
            unsupported=("loop deterministic", "schedule"),
            synchronous=False,
        ),
        StrategyInfo(
            "tpu",
            "Synchronous over the cores of a TPU.",
            "a TPU",
            "subprocess",
            "a shard per core",
            _PACKAGE + "mirrored",
        ),
    )
}
"""Properties of every strategy except ``Auto``, by name."""
