"""Reference pipeline, its configuration, and the tools around it."""
