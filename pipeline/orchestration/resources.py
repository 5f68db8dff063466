"""Resource requests of nodes, independent of the orchestrator."""

import re
from dataclasses import dataclass

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.distribution.options import (
    DeviceStrategy,
    ParameterServer,
    Strategy,
    SynchronousParameterServer,
    cluster_of,
)

_CPU = re.compile(r"[0-9]{1,12}m|[0-9]{1,9}(\.[0-9]{1,9})?")
_MEMORY = re.compile(r"[0-9]{1,18}(Ki|Mi|Gi|Ti|k|M|G|T)?")
_COUNT = re.compile(r"[0-9]{1,6}")

_LOCAL = "local:"

_GPU = "nvidia.com/gpu"


@dataclass(frozen=True, slots=True)
class Resources:
    """Resource request of a node.

    Args:
        cpu: Cores in Kubernetes notation, such as ``"2"`` or ``"500m"``; empty for no request.
        memory: Bytes in Kubernetes notation, such as ``"4Gi"``; empty for no request.
        accelerator: Accelerator as the orchestrator names it, such as ``"nvidia.com/gpu"``; empty
            for none.
        count: Number of accelerators.

    Raises:
        ConfigError: A quantity is malformed, or the count does not match the accelerator.
    """

    cpu: str = ""
    memory: str = ""
    accelerator: str = ""
    count: int = 0

    def __post_init__(self) -> None:
        for name, pattern, example in (("cpu", _CPU, "2 or 500m"), ("memory", _MEMORY, "4Gi")):
            value = getattr(self, name)
            if value and not pattern.fullmatch(value):
                raise ConfigError(
                    f"resources {name}",
                    received=value,
                    expected=f"a Kubernetes quantity, such as {example}",
                )
        if bool(self.accelerator) != (self.count > 0):
            raise ConfigError(
                "resources count",
                received=self.count,
                expected="1 or more with an accelerator, 0 without one",
            )

    @classmethod
    def parse(cls, text: str) -> "Resources":
        """Parses the command-line notation; an empty text means no request.

        Raises:
            ConfigError: The text is malformed.

        Example:
            >>> Resources.parse("cpu:4,memory:8Gi,nvidia.com/gpu:1")
            Resources(cpu='4', memory='8Gi', accelerator='nvidia.com/gpu', count=1)
        """
        amounts: dict[str, str] = {}
        for part in filter(None, text.split(",")):
            name, _, amount = part.strip().rpartition(":")
            amounts[name] = amount
        cpu, memory = amounts.pop("cpu", ""), amounts.pop("memory", "")
        accelerator, count = amounts.popitem() if amounts else ("", "0")
        # As in nvidia.com/gpu or NVIDIA_TESLA_T4; anything else is a typo.
        known = not accelerator or "/" in accelerator or accelerator.isupper()
        if amounts or not known or not _COUNT.fullmatch(count):
            raise ConfigError(
                "resources",
                received=text,
                expected="cpu:N, memory:N and at most one accelerator, as in "
                "cpu:4,memory:8Gi,nvidia.com/gpu:1",
            )
        return cls(cpu, memory, accelerator, int(count))


def default_resources(strategy: Strategy) -> Resources:
    """Returns the default request of a FeederTrainer, derived from its strategy.

    - ``devices``: as many GPUs or cores as the highest device index requires;
    - ``"local:N"``: one core per process;
    - ``"env"``, whose members have a machine each, and everything else: no request.
    """
    reach = {"CPU": 0, "GPU": 0}
    for device in strategy.devices if isinstance(strategy, DeviceStrategy) else ():
        name, _, index = device.upper().rpartition(":")
        kind = name[-3:]
        if kind in reach and index.isdigit():  # The trainer rejects other names.
            reach[kind] = max(reach[kind], int(index) + 1)
    cores, gpus = reach["CPU"], reach["GPU"]
    cluster = cluster_of(strategy)
    if cluster is not None and cluster.startswith(_LOCAL):
        served = isinstance(strategy, (ParameterServer, SynchronousParameterServer))
        # A chief and a server run beside the workers.
        cores = int(cluster.removeprefix(_LOCAL)) + (2 if served else 0)
    return Resources(str(cores) if cores else "", "", _GPU if gpus else "", gpus)
