"""Decentralized training by averaging weights with peers."""
