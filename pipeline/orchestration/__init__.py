"""Compiled pipelines, and what runs one node of them, for whatever orchestrator."""
