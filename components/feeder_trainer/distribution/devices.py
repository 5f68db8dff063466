"""Devices of this machine."""

import os
from collections.abc import Sequence

import tensorflow as tf

from tfx_feeder.common.errors import ConfigError

_MIN_LOGICAL, _MAX_LOGICAL = 2, 8


def num_logical_cpus() -> int:
    """Returns the default number of logical CPU devices: one per core, from 2 to 8."""
    return min(_MAX_LOGICAL, max(_MIN_LOGICAL, os.cpu_count() or 1))


def open_devices(names: Sequence[str]) -> list[str]:
    """Prepares devices; several of the CPU are configured, so call this before TensorFlow starts.

    Args:
        names: Device names, as in ``("GPU:0", "GPU:1")``; if empty, all GPUs, or logical CPU
            devices on a machine without GPUs.

    Returns:
        The normalized names of the devices.

    Raises:
        ConfigError: A device does not exist or is repeated, or TensorFlow has started.
    """
    gpus = len(tf.config.list_physical_devices("GPU"))
    if not names:
        names = [f"GPU:{index}" for index in range(gpus)] or [
            f"CPU:{index}" for index in range(num_logical_cpus())
        ]
    parsed = [_parse(name) for name in names]
    if any(kind == "GPU" and index >= gpus for kind, index in parsed):
        raise ConfigError(
            "strategy devices",
            received=tuple(names),
            expected=f"devices of this machine, which has {gpus} GPUs",
            fix="Use CPU:0, CPU:1 and so on for logical devices of the CPU.",
        )
    if len(set(parsed)) < len(parsed):
        raise ConfigError(
            "strategy devices", received=tuple(names), expected="distinct devices, each once"
        )
    cpus = 1 + max((index for kind, index in parsed if kind == "CPU"), default=0)
    if cpus > 1:
        _configure_logical_cpus(cpus)
    return [f"{kind}:{index}" for kind, index in parsed]


def _parse(name: str) -> tuple[str, int]:
    kind, _, index = name.upper().removeprefix("/DEVICE:").removeprefix("/").rpartition(":")
    if kind not in ("CPU", "GPU") or not index.isdigit():
        raise ConfigError(
            "strategy devices", received=name, expected="names as in 'GPU:0' or 'CPU:1'"
        )
    return kind, int(index)


def _configure_logical_cpus(count: int) -> None:
    (cpu,) = tf.config.list_physical_devices("CPU")
    try:
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * count
        )
    except RuntimeError as error:
        raise ConfigError(
            "strategy devices",
            received=f"{count} logical devices of the CPU",
            expected="devices that are configured before TensorFlow starts",
            fix="Let the FeederTrainer start the training process.",
        ) from error
