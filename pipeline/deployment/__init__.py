"""Serving an earlier version again: planned, pushed through the same gate, and recorded."""
