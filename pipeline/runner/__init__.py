"""One local run: settings, log, progress, summary."""
