"""Commands of ``tfx-feeder``, one module per command."""
