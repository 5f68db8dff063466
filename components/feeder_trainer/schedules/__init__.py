"""Schedules of learning rate and batch size, and policies that generate them.

``BatchSizeRamp`` and ``BatchWarmup`` know all phases in advance. ``IncreaseBatchOnPlateau`` and
``GradientNoiseScale`` start with one phase and decide on the next ones during training.
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
