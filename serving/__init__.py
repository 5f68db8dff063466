"""Answers to requests with pushed models."""
