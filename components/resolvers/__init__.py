"""Resolver strategies."""
