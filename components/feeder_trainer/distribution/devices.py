"""Which devices of this machine a training runs on."""

import os
from collections.abc import Sequence

import tensorflow as tf

from tfx_feeder.common.errors import ConfigError

_FEWEST, _MOST = 2, 8


def logical_processors() -> int:
    """Returns how many devices a processor is cut into by default: one a core, 2 to 8 of them."""
    return min(_MOST, max(_FEWEST, os.cpu_count() or 1))


def open_devices(named: Sequence[str]) -> list[str]:
    """Makes devices ready; logical ones are declared, so this comes before TensorFlow starts.

    Args:
        named: As in ``("GPU:0", "GPU:1")``; empty: all GPUs, or logical devices of the processor
            where there are none.

    Returns:
        The devices' names.

    Raises:
        ConfigError: A device does not exist or comes twice, or TensorFlow has started.
    """
    gpus = len(tf.config.list_physical_devices("GPU"))
    if not named:
        named = [f"GPU:{index}" for index in range(gpus)] or [
            f"CPU:{index}" for index in range(logical_processors())
        ]
    parsed = [_parse(name) for name in named]
    missing = [
        name
        for name, (kind, index) in zip(named, parsed, strict=True)
        if kind == "GPU" and index >= gpus
    ]
    if missing:
        raise ConfigError(
            "strategy devices",
            received=tuple(named),
            expected=f"devices of this machine, which has {gpus} GPUs",
            fix="CPU:0, CPU:1 and so on are logical devices of the processor.",
        )
    if len(set(parsed)) < len(parsed):
        raise ConfigError(
            "strategy devices", received=tuple(named), expected="several devices, each once"
        )
    processors = 1 + max((index for kind, index in parsed if kind == "CPU"), default=0)
    if processors > 1:
        _declare(processors)
    return [f"{kind}:{index}" for kind, index in parsed]


def _parse(name: str) -> tuple[str, int]:
    kind, _, index = name.upper().removeprefix("/DEVICE:").removeprefix("/").rpartition(":")
    if kind not in ("CPU", "GPU") or not index.isdigit():
        raise ConfigError(
            "strategy devices", received=name, expected="names as in 'GPU:0' or 'CPU:1'"
        )
    return kind, int(index)


def _declare(processors: int) -> None:
    (processor,) = tf.config.list_physical_devices("CPU")
    try:
        tf.config.set_logical_device_configuration(
            processor, [tf.config.LogicalDeviceConfiguration()] * processors
        )
    except RuntimeError as error:
        raise ConfigError(
            "strategy devices",
            received=f"{processors} logical devices of the processor",
            expected="devices that are declared before TensorFlow starts",
            fix="Leave the start of processes to FeederTrainer.",
        ) from error
