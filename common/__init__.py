"""Utilities that know nothing of machine learning."""
