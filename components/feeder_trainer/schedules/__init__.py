"""Policies: rules that make the phases of a training.

``DecayToBatch`` and ``BatchWarmup`` know all phases beforehand; ``OnPlateau`` and ``NoiseScale``
begin with one and decide on the next while training.
"""

from tfx_feeder.components.feeder_trainer.policies.batch_warmup import BatchWarmup
from tfx_feeder.components.feeder_trainer.policies.decay_to_batch import DecayToBatch
from tfx_feeder.components.feeder_trainer.policies.decays import Decay, RateTable
from tfx_feeder.components.feeder_trainer.policies.noise_scale import NoiseScale
from tfx_feeder.components.feeder_trainer.policies.on_plateau import OnPlateau

__all__ = ["BatchWarmup", "Decay", "DecayToBatch", "NoiseScale", "OnPlateau", "RateTable"]
