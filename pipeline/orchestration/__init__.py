"""Compiled pipelines, and their execution on orchestrators, one node at a time."""
