"""Training loop of one process: steps, callbacks, checkpoints, history."""
