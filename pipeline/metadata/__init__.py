"""Answers to questions about runs and models, from what a store and the artifacts say."""
