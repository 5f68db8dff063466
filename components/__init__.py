"""Components of the suite.

The classes are loaded on first use (PEP 562), so that a plain module such as
``tfx_feeder.components.feeder_trainer.schedules.schedule`` can be imported without TFX.
"""

from importlib import import_module
from typing import Any

_CLASSES = {
    "EvalGate": "tfx_feeder.components.eval_gate.component",
    "FeederTrainer": "tfx_feeder.components.feeder_trainer.component",
    "ImageExampleGen": "tfx_feeder.components.image_example_gen.component",
    "ModelCardGenerator": "tfx_feeder.components.model_card.component",
    "SliceGen": "tfx_feeder.components.slice_gen.component",
}

__all__ = sorted(_CLASSES)


def __getattr__(name: str) -> Any:
    if name not in _CLASSES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(_CLASSES[name]), name)
    except AttributeError as error:
        # Left as it is, `from ... import` would hide it behind "cannot import name".
        raise ImportError(f"{_CLASSES[name]} cannot be imported: {error}") from error


def __dir__() -> list[str]:
    return __all__
