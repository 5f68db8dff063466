"""EvalGate: blesses a model if it is proven no worse than the blessed one where it matters."""
