"""Vega-Lite charts of the report."""
