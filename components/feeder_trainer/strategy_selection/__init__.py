"""The strategy is chosen by the time to train: measured, predicted, priced."""
