"""Model server for SavedModels: TensorFlow Serving's gRPC and REST, and the v2 protocol by REST."""
