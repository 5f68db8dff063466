"""What a node asks of the machine that runs it, whatever the orchestrator."""

import re
from dataclasses import dataclass

from tfx_feeder.components.common.errors import ConfigError

_CPU = re.compile(r"\d+m|\d+(\.\d+)?")
_MEMORY = re.compile(r"\d+(Ki|Mi|Gi|Ti|k|M|G|T)?")


@dataclass(frozen=True, slots=True)
class Resources:
    """What a node needs.

    Args:
        cpu: Cores, in the notation of Kubernetes: ``"2"`` or ``"500m"``; empty: no wish.
        memory: Bytes, in the notation of Kubernetes: ``"4Gi"``; empty: no wish.
        accelerator: Name of the resource, such as ``"nvidia.com/gpu"``; empty: none.
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
