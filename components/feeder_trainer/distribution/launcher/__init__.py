"""Processes of a distributed training: start, supervision, rendezvous."""
