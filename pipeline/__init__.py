"""The reference pipeline, its settings, and the commands around it."""
