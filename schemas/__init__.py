"""Artifact types, versioned file formats, and curated schemas of the reference data."""
