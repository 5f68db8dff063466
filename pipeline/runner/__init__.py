"""Local runs: configuration, log, progress display, and summary."""
