"""Distribution strategies as plain values: one class each, and their JSON form.

They are separate from their implementations because pipelines and the command line use them without
TensorFlow.
"""

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tfx_feeder.common.durations import parse_duration
from tfx_feeder.common.errors import ConfigError
from tfx_feeder.common.validation import check_among, check_at_least
from tfx_feeder.components.feeder_trainer.distribution.strategy_info import STRATEGIES
from tfx_feeder.components.feeder_trainer.schedules.lr_scaling import EXPONENT_OF_RULE

STALENESS = "staleness"
"""Scaling rule of asynchronous parameter servers."""

DEFAULT_RESTARTS = 3
"""Maximum number of restarts after a process failure, for strategies that do not set their own."""

_DEFAULTS_OF_0_1_0: Mapping[str, Any] = {"exchange": "broadcast", "restarts": 3}
"""Defaults other than ``None`` of the options that every strategy had in release 0.1.0."""
_CLUSTER = re.compile(r"env|local:[1-9][0-9]{0,3}")


def _is_set(option: str, value: Any) -> bool:
    """Returns True if a value of release 0.1.0 has an effect, though its strategy lacks it now."""
    # A single device ignored the scaling of learning rates.
    if option in ("lr_scaling", "learning_rate_rule") or value in ([], (), {}, ""):
        return False
    return value != _DEFAULTS_OF_0_1_0.get(option)


@dataclass(frozen=True, slots=True)
class Strategy:
    """Abstract base class of the strategies: where and how a model is trained."""

    name: ClassVar[str]
    """Name in JSON, on the command line and in the training history."""

    def __new__(cls, *_args: Any, **_options: Any) -> "Strategy":
        """Refuses to create a strategy without a name."""
        if not hasattr(cls, "name"):
            raise TypeError(f"{cls.__name__} is abstract.")
        return object.__new__(cls)

    def to_dict(self) -> dict[str, Any]:
        """Returns the name and the options as JSON values."""
        return {"name": self.name, **dataclasses.asdict(self)}

    def to_json(self) -> str:
        """Returns the JSON document that an execution property holds."""
        return json.dumps(self.to_dict(), sort_keys=True)

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> "Strategy":
        """Returns the strategy that ``to_dict`` described.

        Args:
            values: Name and options. The form of earlier versions, in which every strategy had
                the options of all, is read too.

        Raises:
            ConfigError: The name is unknown, the strategy has no such option, or a value is out of
                range.

        Example:
            >>> Strategy.from_dict({"name": "multi_worker", "cluster": "local:2"})
            MultiWorker(lr_scaling='none', cluster='local:2', restarts=3)
        """
        values = dict(values)
        name = values.pop("name", SingleDevice.name)
        check_among("strategy", name, tuple(_CLASSES))
        strategy_class = _CLASSES[name]
        options = [each.name for each in dataclasses.fields(strategy_class)]
        if "learning_rate_rule" in values:  # All options of all strategies.
            # Asynchronous parameter servers ignored the rule.
            if strategy_class is not ParameterServer:
                values["lr_scaling"] = values.pop("learning_rate_rule")
            values = {
                option: value
                for option, value in values.items()
                if option in options or _is_set(option, value)
            }
        for option in values.keys() - set(options):
            raise ConfigError(
                f"strategy {option}",
                received=values[option],
                expected=f"only options of {name}: {', '.join(options) or 'it has none'}",
                fix=f"Use strategy auto, or drop {option}."
                if option in ("time_to_train", "max_cost", "device_cost_per_hour", "candidates")
                else f"Drop {option}, or use a strategy that supports it.",
            )
        if issubclass(strategy_class, ClusterStrategy):
            values.setdefault("cluster", None)
        return strategy_class(**values)

    @staticmethod
    def from_json(text: str) -> "Strategy":
        """Returns the strategy that ``to_json`` wrote; see ``from_dict``."""
        return Strategy.from_dict(json.loads(text))


@dataclass(frozen=True, slots=True)
class SingleDevice(Strategy):
    """Trains on one device: the cheapest strategy whenever it meets the deadline."""

    name: ClassVar[str] = "sequential"


@dataclass(frozen=True, slots=True)
class DistributedStrategy(Strategy):
    """Base class of the strategies with several replicas of the model.

    Args:
        lr_scaling: Scaling of the schedule's learning rates: ``"none"`` by 1, ``"linear"`` by the
            number of replicas, ``"sqrt"`` by its square root.

    Raises:
        ConfigError: A value is out of range.
    """

    lr_scalings: ClassVar[tuple[str, ...]] = tuple(EXPONENT_OF_RULE)
    lr_scaling: str = field(default="none", kw_only=True)

    def __post_init__(self) -> None:
        check_among("strategy lr_scaling", self.lr_scaling, self.lr_scalings)


@dataclass(frozen=True, slots=True)
class DeviceStrategy(DistributedStrategy):
    """Base class of the strategies over the devices of one machine.

    Args:
        devices: Devices, as in ``("GPU:0", "GPU:1")``. If empty, all accelerators, or one logical
            device for each CPU core on a machine without accelerators.
        lr_scaling: See ``DistributedStrategy``.

    Raises:
        ConfigError: A value is out of range.
    """

    devices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        DistributedStrategy.__post_init__(self)
        object.__setattr__(self, "devices", tuple(self.devices))


@dataclass(frozen=True, slots=True)
class Mirrored(DeviceStrategy):
    """Synchronous data parallelism on one machine; every device holds a copy of the variables.

    Args:
        devices: See ``DeviceStrategy``.
        lr_scaling: See ``DistributedStrategy``.
    """

    name: ClassVar[str] = "mirrored"


@dataclass(frozen=True, slots=True)
class CentralStorage(DeviceStrategy):
    """Synchronous data parallelism on one machine; the variables stay on the CPU.

    Args:
        devices: See ``DeviceStrategy``.
        lr_scaling: See ``DistributedStrategy``.
    """

    name: ClassVar[str] = "central_storage"


@dataclass(frozen=True, slots=True)
class ClusterStrategy(DistributedStrategy):
    """Base class of the strategies over the processes of a cluster.

    Args:
        cluster: ``"local:2"`` starts two workers as processes on this machine; ``"env"`` reads
            the cluster from the ``TF_CONFIG`` of the orchestrator.
        restarts: Maximum number of restarts of a local cluster after a process failure.
        lr_scaling: See ``DistributedStrategy``.

    Raises:
        ConfigError: A value is out of range.
    """

    cluster: str
    restarts: int = field(default=DEFAULT_RESTARTS, kw_only=True)

    def __post_init__(self) -> None:
        DistributedStrategy.__post_init__(self)
        _check_cluster(self.cluster)
        check_at_least("strategy restarts", self.restarts, 0)


@dataclass(frozen=True, slots=True)
class MultiWorker(ClusterStrategy):
    """Synchronous data parallelism over several machines by all-reduce.

    Args:
        cluster: See ``ClusterStrategy``.
        restarts: See ``ClusterStrategy``.
        lr_scaling: See ``DistributedStrategy``.

    Example:
        >>> MultiWorker(cluster="local:2").name
        'multi_worker'
    """

    name: ClassVar[str] = "multi_worker"


@dataclass(frozen=True, slots=True)
class ParameterServer(ClusterStrategy):
    """Asynchronous parameter servers: workers update the servers' variables independently.

    Args:
        cluster: See ``ClusterStrategy``.
        restarts: See ``ClusterStrategy``.
        lr_scaling: Scaling of the schedule's learning rates: ``"none"``, or ``"staleness"`` for
            division by one more than the mean staleness of a gradient.
        momentum: ``"unchanged"``, or ``"corrected"`` to lower the momentum of the optimizer by
            what staleness adds; see ``corrected_momentum``.

    Raises:
        ConfigError: A value is out of range.

    Example:
        >>> ParameterServer("local:2", lr_scaling="staleness").lr_scaling
        'staleness'
    """

    name: ClassVar[str] = "parameter_server"
    lr_scalings: ClassVar[tuple[str, ...]] = ("none", STALENESS)
    momentum: str = field(default="unchanged", kw_only=True)

    def __post_init__(self) -> None:
        ClusterStrategy.__post_init__(self)
        check_among("strategy momentum", self.momentum, ("unchanged", "corrected"))


@dataclass(frozen=True, slots=True)
class SynchronousParameterServer(ClusterStrategy):
    """Synchronous parameter servers: gradients of all workers are averaged before each update.

    Args:
        cluster: See ``ClusterStrategy``.
        restarts: See ``ClusterStrategy``.
        lr_scaling: See ``DistributedStrategy``.
    """

    name: ClassVar[str] = "parameter_server_sync"


@dataclass(frozen=True, slots=True)
class PeerAveraging(ClusterStrategy):
    """Decentralized training: workers average their weights with those received from peers.

    Args:
        cluster: See ``ClusterStrategy``.
        exchange: Recipients of a worker's weights: ``"broadcast"`` for all peers, ``"ring"`` for
            the next one.
        restarts: See ``ClusterStrategy``.
        lr_scaling: See ``DistributedStrategy``.

    Raises:
        ConfigError: A value is out of range.
    """

    name: ClassVar[str] = "peer_averaging"
    exchange: str = field(default="broadcast", kw_only=True)

    def __post_init__(self) -> None:
        ClusterStrategy.__post_init__(self)
        check_among("strategy exchange", self.exchange, ("broadcast", "ring"))


@dataclass(frozen=True, slots=True)
class TPU(DistributedStrategy):
    """Synchronous data parallelism over the cores of a TPU.

    Args:
        address: Address of the TPU; if empty, taken from the environment.
        lr_scaling: See ``DistributedStrategy``.
    """

    name: ClassVar[str] = "tpu"
    address: str = ""


@dataclass(frozen=True, slots=True)
class Auto(Strategy):
    """Selects the cheapest strategy that is predicted to meet the deadline.

    Args:
        time_to_train: Time budget from the start of the Trainer, as in ``"45m"``; ``None`` for no
            limit.
        max_cost: Maximum cost of a training run, in the unit of ``device_cost_per_hour``; ``None``
            for no limit.
        device_cost_per_hour: Hourly cost of one device, by kind of device (``"CPU"``, ``"GPU"``,
            ``"TPU"``) or by name of a strategy; 1 for those not listed.
        candidates: Names of the strategies to select from; if empty, all that can run.
        cluster: Cluster of the candidates that need one; see ``ClusterStrategy``.
        lr_scaling: See ``DistributedStrategy``.

    Raises:
        ConfigError: A value is out of range.
    """

    name: ClassVar[str] = "auto"
    time_to_train: str | None = None
    max_cost: float | None = field(default=None, kw_only=True)
    device_cost_per_hour: Mapping[str, float] = field(default_factory=dict, kw_only=True)
    candidates: tuple[str, ...] = field(default=(), kw_only=True)
    cluster: str | None = field(default=None, kw_only=True)
    lr_scaling: str = field(default="none", kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "candidates", tuple(self.candidates))
        for candidate in self.candidates:
            check_among("strategy candidates", candidate, tuple(STRATEGIES))
        check_among("strategy lr_scaling", self.lr_scaling, tuple(EXPONENT_OF_RULE))
        if self.cluster is not None:
            _check_cluster(self.cluster)
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


def _check_cluster(cluster: Any) -> None:
    if not isinstance(cluster, str) or not _CLUSTER.fullmatch(cluster):
        raise ConfigError(
            "strategy cluster",
            received=cluster,
            expected="'env', or the number of workers as in 'local:2'",
            fix="'local:2' starts two workers on this machine; 'env' reads TF_CONFIG.",
        )


_CLASSES: Mapping[str, type[Strategy]] = {
    "sequential": SingleDevice,
    "mirrored": Mirrored,
    "central_storage": CentralStorage,
    "multi_worker": MultiWorker,
    "parameter_server": ParameterServer,
    "parameter_server_sync": SynchronousParameterServer,
    "peer_averaging": PeerAveraging,
    "tpu": TPU,
    "auto": Auto,
}


def cluster_of(strategy: Strategy) -> str | None:
    """Returns the cluster of a strategy; ``None`` if it runs on one machine."""
    return strategy.cluster if isinstance(strategy, (ClusterStrategy, Auto)) else None


def lr_scale_factor(rule: str, replicas: int, staleness: float = 0.0) -> float:
    """Returns the factor that scales the schedule's learning rates.

    ``"linear"`` follows Goyal et al. 2017, "Accurate, Large Minibatch SGD"; ``"sqrt"`` preserves
    the variance of the update (Krizhevsky 2014, "One weird trick for parallelizing convolutional
    neural networks"). ``"staleness"`` follows Zhang et al. 2016, "Staleness-aware Async-SGD for
    Distributed Deep Learning": a delayed gradient is stable only at a lower learning rate.

    Args:
        rule: ``"none"``, ``"linear"``, ``"sqrt"`` or ``"staleness"``.
        replicas: Number of replicas.
        staleness: Mean staleness of a gradient, in updates.
    """
    if rule == STALENESS:
        return 1.0 / (1.0 + staleness)
    return float(replicas) ** EXPONENT_OF_RULE[rule]


def corrected_momentum(momentum: float, staleness: float) -> float:
    """Returns the momentum that an optimizer with stale gradients should have.

    Staleness acts as additional momentum (Mitliagkas et al. 2016, "Asynchrony begets Momentum").
    A gradient that is one update old is stable only while ``learning_rate / (1 - momentum)`` times
    the curvature is below 1. The correction therefore divides ``1 / (1 - momentum)``, the number of
    updates that a gradient acts on, by one more than the staleness.

    Args:
        momentum: Momentum for gradients that are not stale.
        staleness: Mean staleness of a gradient, in updates.

    Example:
        >>> round(corrected_momentum(0.9, staleness=1), 6)
        0.8
    """
    return max(0.0, 1.0 - (1.0 - momentum) * (1.0 + staleness))
