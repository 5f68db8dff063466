"""The distribution strategies: a table with a row for each, and what a pipeline says of one."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from tfx_feeder.common.durations import parse_duration
from tfx_feeder.common.errors import ConfigError
from tfx_feeder.common.validation import check_among, is_integer

LaunchMode = Literal["here", "process", "team", "servers"]
"""``"here"``: in the trainer's process. ``"process"``: in one of its own, because devices are
declared before TensorFlow starts. ``"team"``: in a process for each worker, all of which run the
loop. ``"servers"``: a chief runs the loop, workers and parameter servers serve it."""

_CLUSTER = re.compile(r"env|local:[1-9]\d*")
_PACKAGE = "tfx_feeder.components.feeder_trainer.distribution."


@dataclass(frozen=True, slots=True)
class StrategyInfo:
    """A row of the table.

    Args:
        name: As pipelines and the command line say it.
        what: What it does, in one line.
        needs: What it needs.
        starts: How its processes start.
        split: How a global batch is split.
        opens: Module whose ``open_context`` places a training so.
        refuses: What it cannot do of ``"feed service"``, ``"loop deterministic"``,
            ``"loop max_micro_batch_size"``, and a ``"schedule"`` that follows the noise scale.
        synchronous: Every update is that of one whole global batch.
    """

    name: str
    what: str
    needs: str
    starts: LaunchMode
    split: str
    opens: str
    refuses: tuple[str, ...] = ()
    synchronous: bool = True


STRATEGIES: Mapping[str, StrategyInfo] = {
    row.name: row
    for row in (
        StrategyInfo(
            "sequential",
            "One device, one batch after another: the cheapest whenever it ends in time.",
            "one device",
            "here",
            "not at all",
            _PACKAGE + "single_device",
        ),
        StrategyInfo(
            "mirrored",
            "Synchronous over the devices of one machine, each with a copy of the variables.",
            "several devices in one machine",
            "process",
            "a share for each device",
            _PACKAGE + "mirrored",
        ),
        StrategyInfo(
            "central_storage",
            "Synchronous over the devices of one machine; the variables stay on the processor.",
            "several devices in one machine",
            "process",
            "a share for each device",
            _PACKAGE + "central_storage",
        ),
        StrategyInfo(
            "multi_worker",
            "Synchronous over machines, by all-reduce.",
            "a cluster of workers",
            "team",
            "a share for each device of each worker",
            _PACKAGE + "mirrored",
            refuses=("feed service",),
        ),
        StrategyInfo(
            "parameter_server",
            "Asynchronous over machines: a worker updates the servers' variables when it is ready.",
            "a cluster of workers and parameter servers",
            "servers",
            "whole batches, each to the next free worker",
            _PACKAGE + "parameter_server.strategy",
            refuses=("loop deterministic", "loop max_micro_batch_size", "schedule"),
            synchronous=False,
        ),
        StrategyInfo(
            "parameter_server_sync",
            "Synchronous over machines: wait for every worker, average, update, send out.",
            "a cluster of workers and parameter servers",
            "servers",
            "a share for each worker",
            _PACKAGE + "parameter_server.strategy",
        ),
        StrategyInfo(
            "peer_averaging",
            "Uncoordinated over machines: workers average the weights that peers have sent.",
            "a cluster of workers",
            "team",
            "a share for each worker",
            _PACKAGE + "peer_averaging.strategy",
            refuses=("feed service", "loop deterministic", "schedule"),
            synchronous=False,
        ),
        StrategyInfo(
            "tpu",
            "Synchronous over the cores of a TPU.",
            "a TPU",
            "process",
            "a share for each core",
            _PACKAGE + "mirrored",
        ),
    )
}
"""Every strategy by its name."""

AUTO = "auto"
"""Name of the strategy that chooses one of the others by the time to train."""


@dataclass(frozen=True, slots=True)
class Strategy:
    """Where a training runs. Made by the named constructors.

    Args:
        name: A key of ``STRATEGIES``, or ``"auto"``.
        devices: Devices of this machine, as in ``("GPU:0", "GPU:1")``; empty: all accelerators, or
            a logical device for each core of the processor where there are none.
        cluster: ``"local:2"`` starts two workers as processes on this machine; ``"env"`` reads
            ``TF_CONFIG`` from the orchestrator.
        learning_rate_rule: What the schedule's rates are multiplied by: ``"none"`` 1, ``"linear"``
            the number of replicas, ``"sqrt"`` its square root.
        exchange: To whom peers send their weights: ``"broadcast"`` to all, ``"ring"`` to the next.
        restarts: How often a cluster on this machine is started again after a process died.
        address: Address of a TPU; empty: from the environment.
        time_to_train: Time that the business allows, counted from the start of the Trainer, as in
            ``"45m"``; ``None``: any.
        max_cost: Highest cost of a training, in the unit of ``device_cost_per_hour``.
        device_cost_per_hour: Cost of one device for an hour, by kind of device (``"CPU"``,
            ``"GPU"``, ``"TPU"``) or by name of a strategy; 1 where it is not named.
        candidates: Strategies to choose among; empty: all that can run.

    Raises:
        ConfigError: A value is out of range, or does not go with the strategy.

    Example:
        >>> Strategy.multi_worker(cluster="local:2").name
        'multi_worker'
    """

    name: str = "sequential"
    devices: tuple[str, ...] = ()
    cluster: str | None = None
    learning_rate_rule: str = "none"
    exchange: str = "broadcast"
    restarts: int = 3
    address: str = ""
    time_to_train: str | None = None
    max_cost: float | None = None
    device_cost_per_hour: Mapping[str, float] = field(default_factory=dict)
    candidates: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("devices", "candidates"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        check_among("strategy", self.name, (*STRATEGIES, AUTO))
        check_among(
            "strategy learning_rate_rule", self.learning_rate_rule, ("none", "linear", "sqrt")
        )
        check_among("strategy exchange", self.exchange, ("broadcast", "ring"))
        for candidate in self.candidates:
            check_among("strategy candidates", candidate, tuple(STRATEGIES))
        if not is_integer(self.restarts) or self.restarts < 0:
            raise ConfigError(
                "strategy restarts", received=self.restarts, expected="an integer of 0 or more"
            )
        if self.cluster is not None and not _CLUSTER.fullmatch(self.cluster):
            raise ConfigError(
                "strategy cluster", received=self.cluster, expected="as in 'local:2', or 'env'"
            )
        self._check_cluster()
        self._check_choice()

    def _check_cluster(self) -> None:
        if self.name == AUTO:
            return
        needs = STRATEGIES[self.name].starts in ("team", "servers")
        if needs and self.cluster is None:
            raise ConfigError(
                "strategy cluster",
                received=None,
                expected=f"a cluster for {self.name}",
                fix="Say cluster='local:2' for two workers on this machine, or 'env'.",
            )
        if not needs and self.cluster is not None:
            raise ConfigError(
                "strategy cluster",
                received=self.cluster,
                expected=f"none, because {self.name} runs on one machine",
            )

    def _check_choice(self) -> None:
        chosen_by = (self.time_to_train, self.max_cost, *self.candidates)
        if self.name != AUTO and any(value is not None for value in chosen_by):
            raise ConfigError(
                "strategy time_to_train, max_cost, candidates",
                received=f"{chosen_by} with {self.name}",
                expected="none of them where the strategy is named",
                fix="Say auto to let them choose it.",
            )
        if self.time_to_train is not None:
            parse_duration("strategy time_to_train", self.time_to_train)
        if self.max_cost is not None and not self.max_cost > 0:
            raise ConfigError(
                "strategy max_cost", received=self.max_cost, expected="a number above 0"
            )
        for device, cost in self.device_cost_per_hour.items():
            if not cost >= 0:
                raise ConfigError(
                    "strategy device_cost_per_hour",
                    received=f"{device}: {cost!r}",
                    expected="numbers of 0 or more",
                )

    @classmethod
    def sequential(cls) -> "Strategy":
        """One device; see the table."""
        return cls("sequential")

    @classmethod
    def mirrored(
        cls, devices: tuple[str, ...] = (), *, learning_rate_rule: str = "none"
    ) -> "Strategy":
        """Copies on several devices of this machine; see the table."""
        return cls("mirrored", devices, learning_rate_rule=learning_rate_rule)

    @classmethod
    def central_storage(
        cls, devices: tuple[str, ...] = (), *, learning_rate_rule: str = "none"
    ) -> "Strategy":
        """Several devices of this machine, variables on its processor; see the table."""
        return cls("central_storage", devices, learning_rate_rule=learning_rate_rule)

    @classmethod
    def multi_worker(
        cls, cluster: str, *, learning_rate_rule: str = "none", restarts: int = 3
    ) -> "Strategy":
        """All-reduce over the workers of a cluster; see the table."""
        return cls(
            "multi_worker",
            cluster=cluster,
            learning_rate_rule=learning_rate_rule,
            restarts=restarts,
        )

    @classmethod
    def parameter_server(
        cls, cluster: str, *, learning_rate_rule: str = "none", restarts: int = 3
    ) -> "Strategy":
        """Asynchronous parameter servers; see the table."""
        return cls(
            "parameter_server",
            cluster=cluster,
            learning_rate_rule=learning_rate_rule,
            restarts=restarts,
        )

    @classmethod
    def parameter_server_sync(
        cls, cluster: str, *, learning_rate_rule: str = "none", restarts: int = 3
    ) -> "Strategy":
        """Synchronous parameter servers; see the table."""
        return cls(
            "parameter_server_sync",
            cluster=cluster,
            learning_rate_rule=learning_rate_rule,
            restarts=restarts,
        )

    @classmethod
    def peer_averaging(
        cls,
        cluster: str,
        *,
        exchange: str = "broadcast",
        learning_rate_rule: str = "none",
        restarts: int = 3,
    ) -> "Strategy":
        """Workers that average with their peers without waiting; see the table."""
        return cls(
            "peer_averaging",
            cluster=cluster,
            exchange=exchange,
            learning_rate_rule=learning_rate_rule,
            restarts=restarts,
        )

    @classmethod
    def tpu(cls, address: str = "", *, learning_rate_rule: str = "none") -> "Strategy":
        """The cores of a TPU; see the table."""
        return cls("tpu", address=address, learning_rate_rule=learning_rate_rule)

    @classmethod
    def auto(
        cls,
        time_to_train: str | None = None,
        *,
        max_cost: float | None = None,
        device_cost_per_hour: Mapping[str, float] | None = None,
        candidates: tuple[str, ...] = (),
        cluster: str | None = None,
    ) -> "Strategy":
        """The cheapest strategy that is predicted to end in time."""
        return cls(
            AUTO,
            cluster=cluster,
            time_to_train=time_to_train,
            max_cost=max_cost,
            device_cost_per_hour=device_cost_per_hour or {},
            candidates=candidates,
        )


def lr_scale_factor(rule: str, replicas: int) -> float:
    """Returns what a learning-rate rule multiplies the schedule's rates by.

    ``"linear"`` is Goyal et al. 2017, "Accurate, Large Minibatch SGD"; ``"sqrt"`` keeps the
    variance of the update (Krizhevsky 2014, "One weird trick").
    """
    return {"none": 1.0, "linear": float(replicas), "sqrt": float(replicas) ** 0.5}[rule]
