"""Pusher that respects rollbacks."""
