"""Names of custom properties that the suite sets on the artifacts of other components."""

WITHDRAWN = "withdrawn"
"""Marks a model that was rolled back; the value is the reason."""

BASELINE_FAILURE = "baseline_failure"
"""On an evaluation: why the baseline could not be evaluated."""
