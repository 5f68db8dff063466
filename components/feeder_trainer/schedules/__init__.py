"""Policies: rules that make the phases of a training.

``BatchSizeRamp`` and ``BatchWarmup`` know all phases beforehand; ``IncreaseBatchOnPlateau`` and
``GradientNoiseScale`` begin with one and decide on the next while training.
"""

from tfx_feeder.components.feeder_trainer.schedules.batch_on_plateau import IncreaseBatchOnPlateau
from tfx_feeder.components.feeder_trainer.schedules.batch_ramp import BatchSizeRamp
from tfx_feeder.components.feeder_trainer.schedules.batch_warmup import BatchWarmup
from tfx_feeder.components.feeder_trainer.schedules.lr_decay import (
    LearningRateDecay,
    PiecewiseConstantDecay,
)
from tfx_feeder.components.feeder_trainer.schedules.noise_scale import GradientNoiseScale

__all__ = [
    "BatchSizeRamp",
    "BatchWarmup",
    "GradientNoiseScale",
    "IncreaseBatchOnPlateau",
    "LearningRateDecay",
    "PiecewiseConstantDecay",
]
