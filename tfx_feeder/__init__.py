"""tfx-feeder: TFX components for training, evaluating and deploying models.

Names are loaded on first use (PEP 562): importing ``tfx_feeder`` loads neither TFX nor TensorFlow,
and neither do schedules, strategies and options.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# Vertex AI imports the artifact types by their type names, such as tfx_feeder.ModelCard.
_EXPORTS = {
    "tfx_feeder.components": ("EvalGate", "ImageExampleGen", "ModelCardGenerator", "SliceGen"),
    "tfx_feeder.components.eval_gate.gate": ("Floor", "Gate", "Margin"),
    "tfx_feeder.components.slice_gen.classifier_options": ("ClassifierTestOptions",),
    "tfx_feeder.components.slice_gen.drift": ("DriftOptions",),
    "tfx_feeder.components.slice_gen.log_options": ("LabelOptions", "ServingLogOptions"),
    "tfx_feeder.components.slice_gen.options": (
        "ClusterOptions",
        "LossOptions",
        "SliceGenOptions",
    ),
    "tfx_feeder.components.slice_gen.search": ("SliceSearchOptions",),
    "tfx_feeder.schemas.artifacts": (
        "DriftReport",
        "GateReport",
        "ModelCard",
        "Slices",
        "TrainingHistory",
    ),
}
_TRAINER = "tfx_feeder.components.feeder_trainer"


def __dir__() -> list[str]:
    exported = [name for names in _EXPORTS.values() for name in names]
    return sorted([*exported, *import_module(_TRAINER).__all__])


def __getattr__(name: str) -> Any:
    if name == "__all__":
        return __dir__()
    for module, names in _EXPORTS.items():
        if name in names:
            return getattr(import_module(module), name)
    if name.startswith("__") or name not in (trainer := import_module(_TRAINER)).__all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(trainer, name)
