"""Kubeflow Pipelines: specification of a compiled pipeline, and recurring runs."""
