"""Distribution of a training over devices and processes."""
