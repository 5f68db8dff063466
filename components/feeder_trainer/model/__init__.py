"""Functions of the user, model state, and export."""
