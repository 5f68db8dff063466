"""Reference model: the convolutional network of the CIFAR-10 tutorials."""

import keras
from keras import layers

from tfx_feeder.components.feeder_trainer.model.builder import ModelContext

IMAGE_KEY = "image"


def create_model(context: ModelContext) -> keras.Model:
    """Builds and compiles the model for the images and classes of a pipeline.

    Args:
        context: Image shape in ``feed.images["image"]``, number of classes and seed of the
            initial weights in ``custom_config``.

    Returns:
        Model from uint8 ``[batch, height, width, channels]`` to probabilities
        ``[batch, num_classes]``. The same seed gives the same initial weights.
    """
    custom_config = context.custom_config or {}
    keras.utils.set_random_seed(custom_config.get("seed", 0))
    model = keras.Sequential(
        [
            layers.Input(context.feed.images[IMAGE_KEY].shape, dtype="uint8", name=IMAGE_KEY),
            layers.Rescaling(1 / 255),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(custom_config["num_classes"], activation="softmax"),
        ]
    )
    model.compile(
        # The schedule sets the learning rate before the first step.
        optimizer=keras.optimizers.SGD(0.01, momentum=0.9),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model
