"""Strategy selection by profiled steps, predicted time and cost."""
