"""Public API of FeederTrainer: the component, its options, schedules, policies and strategies.

The names are loaded on first use (PEP 562): importing the package loads neither TFX nor TensorFlow.
"""

from importlib import import_module
from typing import Any

_MODULES = {
    "component": ("FeederTrainer",),
    "distribution.options": (
        "Auto",
        "CentralStorage",
        "Mirrored",
        "MultiWorker",
        "ParameterServer",
        "PeerAveraging",
        "SingleDevice",
        "Strategy",
        "SynchronousParameterServer",
        "TPU",
    ),
    "feed.options": ("FeedOptions", "Image"),
    "schedules.batch_on_plateau": ("IncreaseBatchOnPlateau",),
    "schedules.batch_ramp": ("BatchSizeRamp",),
    "schedules.batch_warmup": ("BatchWarmup",),
    "schedules.lr_decay": ("LearningRateDecay", "PiecewiseConstantDecay"),
    "schedules.noise_scale": ("GradientNoiseScale",),
    "schedules.schedule": ("Phase", "Schedule"),
    "training.early_stopping": ("BaselineEarlyStopping",),
    "training.options": ("TrainingOptions",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = f"{__name__}.{_MODULE_OF[name]}"
    try:
        return getattr(import_module(module), name)
    except AttributeError as error:
        # Left as it is, `from ... import` would hide it behind "cannot import name".
        raise ImportError(f"{module} cannot be imported: {error}") from error


def __dir__() -> list[str]:
    return __all__
