"""Parameter server training, asynchronous and synchronous."""
