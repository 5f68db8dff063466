"""ImageExampleGen: Examples from labeled images."""
