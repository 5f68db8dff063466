"""tfx-feeder: TFX components for training and deploying models."""

__version__ = "0.1.0"
