"""How a training is placed on devices and processes."""
