"""Layout and drawing of lineage graphs."""
