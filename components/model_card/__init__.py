"""ModelCardGenerator: a card beside each pushed model."""
