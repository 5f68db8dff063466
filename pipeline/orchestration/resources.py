"""What a node asks of the machine that runs it, whatever the orchestrator."""

import re
from dataclasses import dataclass

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.distribution.options import AUTO, STRATEGIES, Strategy

_CPU = re.compile(r"\d+m|\d+(\.\d+)?")
_MEMORY = re.compile(r"\d+(Ki|Mi|Gi|Ti|k|M|G|T)?")

_LOCAL = "local:"

_GPU = "nvidia.com/gpu"


@dataclass(frozen=True, slots=True)
class Resources:
    """What a node needs.

    Args:
        cpu: Cores, in the notation of Kubernetes: ``"2"`` or ``"500m"``; empty: no wish.
        memory: Bytes, in the notation of Kubernetes: ``"4Gi"``; empty: no wish.
        accelerator: What the orchestrator calls it, such as ``"nvidia.com/gpu"``; empty: none.
        count: Accelerators.

    Raises:
        ConfigError: A value cannot be read, or there is a count without an accelerator.
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
                    expected=f"a quantity of Kubernetes, such as {example}",
                )
        if bool(self.accelerator) != (self.count > 0):
            raise ConfigError(
                "resources count",
                received=self.count,
                expected="1 or more for an accelerator, 0 where none is named",
            )

    @classmethod
    def parse(cls, text: str) -> "Resources":
        """Reads the notation of the command line; an empty text stands for no wish.

        Raises:
            ConfigError: It cannot be read.

        Example:
            >>> Resources.parse("cpu:4,memory:8Gi,nvidia.com/gpu:1")
            Resources(cpu='4', memory='8Gi', accelerator='nvidia.com/gpu', count=1)
        """
        asked: dict[str, str] = {}
        for part in filter(None, text.split(",")):
            name, _, amount = part.strip().rpartition(":")
            asked[name] = amount
        cpu, memory = asked.pop("cpu", ""), asked.pop("memory", "")
        accelerator, count = asked.popitem() if asked else ("", "0")
        # As in nvidia.com/gpu, or NVIDIA_TESLA_T4; anything else is a slip.
        known = not accelerator or "/" in accelerator or accelerator.isupper()
        if asked or not known or not count.isdigit():
            raise ConfigError(
                "resources",
                received=text,
                expected="cpu:N, memory:N and one accelerator at most, as in "
                "cpu:4,memory:8Gi,nvidia.com/gpu:1",
            )
        return cls(cpu, memory, accelerator, int(count))


def default_resources(strategy: Strategy) -> Resources:
    """Returns what a FeederTrainer needs where nobody says it: what its strategy names.

    - devices: as many GPUs or cores as their numbers reach to;
    - ``"local:N"``: a core for each process;
    - ``"env"``, where each member has a machine of its own, and all others: no wish.
    """
    reach = {"CPU": 0, "GPU": 0}
    for device in strategy.devices:
        name, _, index = device.upper().rpartition(":")
        kind = name[-3:]
        if kind in reach and index.isdigit():  # The Trainer refuses others.
            reach[kind] = max(reach[kind], int(index) + 1)
    cores, gpus = reach["CPU"], reach["GPU"]
    if strategy.cluster is not None and strategy.cluster.startswith(_LOCAL):
        served = strategy.name != AUTO and STRATEGIES[strategy.name].starts == "servers"
        # Beside the workers a chief and a server.
        cores = int(strategy.cluster.removeprefix(_LOCAL)) + (2 if served else 0)
    return Resources(str(cores) if cores else "", "", _GPU if gpus else "", gpus)
