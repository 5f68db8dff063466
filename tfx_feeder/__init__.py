"""tfx-feeder: TFX components for training and deploying models."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Vertex AI imports the types of artifacts by their names.
    if name in ("ModelCard", "TrainingHistory"):
        return getattr(import_module("tfx_feeder.schemas.artifacts"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
