"""Devices of this machine."""

import logging
import os
from collections.abc import Mapping, Sequence

import tensorflow as tf

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.distribution.cluster import GPU_VARIABLE
from tfx_feeder.components.feeder_trainer.distribution.options import Auto, SingleDevice, Strategy

LOGGER = logging.getLogger("tfx_feeder.devices")

_GROWTH_VARIABLE = "TF_FORCE_GPU_ALLOW_GROWTH"
_MIN_LOGICAL, _MAX_LOGICAL = 2, 8


def num_logical_cpus() -> int:
    """Returns the default number of logical CPU devices: one per core, from 2 to 8."""
    return min(_MAX_LOGICAL, max(_MIN_LOGICAL, os.cpu_count() or 1))


def visible_gpus(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Returns the identifiers of this machine's GPUs, as ``CUDA_VISIBLE_DEVICES`` lists them.

    GPUs that are hidden from TensorFlow in this process, but not from its children, are included.

    Args:
        environ: Environment of this process.
    """
    count = len(tf.config.list_physical_devices("GPU"))
    listed = environ.get(GPU_VARIABLE)
    identifiers = listed.split(",") if listed else [str(index) for index in range(count)]
    return tuple(identifier.strip() for identifier in identifiers[:count])


def reserve_gpus(strategy: Strategy) -> bool:
    """Leaves the GPUs to the processes of a strategy, and decides where the training runs.

    TensorFlow never returns the memory of a GPU, so the Trainer must not use one if it starts
    other processes. Call this before the process creates its first tensor. In any case, processes
    allocate the memory of a GPU as needed.

    Args:
        strategy: Strategy of the training.

    Returns:
        True if the training runs in this process; False if this process only starts others.
    """
    os.environ.setdefault(_GROWTH_VARIABLE, "true")
    if not tf.config.list_physical_devices("GPU"):
        return isinstance(strategy, (SingleDevice, Auto))
    if isinstance(strategy, SingleDevice):
        # An earlier training may have hidden them, which TensorFlow cannot revoke.
        return bool(tf.config.get_visible_devices("GPU"))
    try:
        tf.config.set_visible_devices([], "GPU")
    except RuntimeError:
        LOGGER.warning(
            "TensorFlow has opened the GPUs in this process and keeps the memory that it uses. If "
            "the training runs out of memory, run the Trainer in a process of its own."
        )
    return False


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
