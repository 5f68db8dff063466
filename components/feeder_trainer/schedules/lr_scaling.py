"""Scaling rules of the learning rate with the batch size."""

EXPONENT_OF_RULE = {"none": 0.0, "sqrt": 0.5, "linear": 1.0}
"""Exponent of the batch size ratio, by name of the rule."""

EXPONENT_OF_OPTIMIZER = {"sgd": EXPONENT_OF_RULE["linear"], "adam": EXPONENT_OF_RULE["sqrt"]}
"""Exponent that preserves the noise of an update, by kind of optimizer.

SGD preserves learning rate / batch size (Smith et al. 2018, "Don't Decay the Learning Rate,
Increase the Batch Size"). Adam, which normalizes its updates, preserves learning rate / sqrt(batch
size) (Meterez et al. 2025, "Seesaw: Accelerating Training by Balancing Learning Rate and Batch Size
Scheduling").
"""
