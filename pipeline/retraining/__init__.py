"""When a pipeline trains again, on what, and why: triggers, a decision, and a daemon."""
