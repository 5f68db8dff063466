"""Environment variables that name an ML Metadata store.

They have a module of their own because the ML Metadata client is slow to import.
"""

STORE_VARIABLE = "TFX_FEEDER_STORE"
"""Store to use if ``--store`` is not given."""
PASSWORD_VARIABLE = "TFX_FEEDER_STORE_PASSWORD"
"""Password of a database server whose URL contains none."""
