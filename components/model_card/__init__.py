"""ModelCard: a card beside each pushed model."""
