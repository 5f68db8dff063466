"""Policies: rules that make the phases of a training.

``DecayToBatch`` and ``BatchWarmup`` know all phases beforehand; ``OnPlateau`` and ``NoiseScale``
begin with one and decide on the next while training.
"""

from tfx_feeder.components.feeder_trainer.schedules.batch_on_plateau import OnPlateau
from tfx_feeder.components.feeder_trainer.schedules.batch_ramp import DecayToBatch
from tfx_feeder.components.feeder_trainer.schedules.batch_warmup import BatchWarmup
from tfx_feeder.components.feeder_trainer.schedules.lr_decay import Decay, RateTable
from tfx_feeder.components.feeder_trainer.schedules.noise_scale import NoiseScale

__all__ = ["BatchWarmup", "Decay", "DecayToBatch", "NoiseScale", "OnPlateau", "RateTable"]
