"""Tests of tfx-feeder. A regular package, because others on the path are called tests, too."""
