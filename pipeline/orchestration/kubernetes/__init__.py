"""Kubernetes manifests of the machines of a training."""
