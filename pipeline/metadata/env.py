"""Environment variables that name a store of ML Metadata; apart, because its client is heavy."""

STORE_VARIABLE = "TFX_FEEDER_STORE"
"""Names the store where ``--store`` does not."""
PASSWORD_VARIABLE = "TFX_FEEDER_STORE_PASSWORD"
"""Holds the password of a database server, where the URL holds none."""
