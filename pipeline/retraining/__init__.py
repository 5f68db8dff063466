"""Automatic retraining: triggers, the retraining policy and the daemon."""
