"""What a user of the stock Transform and Trainer writes, by the pattern of TFX's own tutorials."""

from typing import Any

import keras
import reference
import tensorflow as tf
import tensorflow_transform as tft
from tfx import v1 as tfx
from tfx_bsl.public import tfxio

from tfx_feeder.components.feeder_trainer.schedules.schedule import Schedule

_EVAL_BATCH = 256


def preprocessing_fn(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Decodes and resizes; images come out as float32 ``[batch, 32, 32, 3]``, 0 to 255."""

    def to_pixels(encoded: tf.Tensor) -> tf.Tensor:
        image = tf.io.decode_image(encoded, reference.SHAPE[-1], expand_animations=False)
        return tf.image.resize(image, reference.SHAPE[:2], antialias=True)

    encoded = tf.reshape(inputs["image"], [-1])
    images = tf.map_fn(to_pixels, encoded, fn_output_signature=tf.float32)
    return {
        "image": tf.ensure_shape(images, [None, *reference.SHAPE]),
        "label": tf.reshape(inputs["label"], [-1]),
    }


def run_fn(fn_args: tfx.components.FnArgs) -> None:
    """Trains phase by phase with a new dataset, compile() and fit(), and exports."""
    graph = tft.TFTransformOutput(fn_args.transform_graph_path)
    schedule = Schedule.from_value(fn_args.custom_config["schedule"])
    model = reference.create_model(fn_args.custom_config["seed"])
    validation = _batches(fn_args.eval_files, fn_args, graph, _EVAL_BATCH, num_epochs=1)
    for phase in schedule.phases:
        reference.compile_again(model, phase.learning_rate)
        model.fit(
            _batches(fn_args.train_files, fn_args, graph, phase.batch_size),
            epochs=phase.length.amount,
            steps_per_epoch=schedule.steps_per_epoch,
            validation_data=validation,
            callbacks=[keras.callbacks.TensorBoard(fn_args.model_run_dir, update_freq="epoch")],
            verbose=0,
        )
    _export(model, graph, fn_args.serving_model_dir)


def _batches(
    paths: list[str],
    fn_args: tfx.components.FnArgs,
    graph: tft.TFTransformOutput,
    batch_size: int,
    num_epochs: int | None = None,
) -> tf.data.Dataset:
    options = tfxio.TensorFlowDatasetOptions(
        batch_size=batch_size, label_key="label", num_epochs=num_epochs
    )
    batches = fn_args.data_accessor.tf_dataset_factory(
        paths, options, graph.transformed_metadata.schema
    )
    return batches.map(lambda features, label: (features["image"], label))


def _export(model: keras.Model, graph: tft.TFTransformOutput, folder: str) -> None:
    layer = graph.transform_features_layer()
    spec: dict[str, Any] = {"image": graph.raw_feature_spec()["image"]}
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.track(layer)

    def serve(examples: tf.Tensor) -> tf.Tensor:
        raw = tf.io.parse_example(examples, spec)
        return model(layer(raw)["image"], training=False)

    signature = [tf.TensorSpec([None], tf.string, name="examples")]
    archive.add_endpoint("serving_default", serve, signature)
    archive.write_out(folder, verbose=False)
