"""Evaluator that leaves out a baseline which can no longer be evaluated."""
