"""Input pipeline: from Examples to batches."""
