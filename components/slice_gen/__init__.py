"""SliceGen: evaluation slices from subpopulations, serving skew and drift."""
