"""Rollback: pushes an earlier version again through the same gate, and records it."""
