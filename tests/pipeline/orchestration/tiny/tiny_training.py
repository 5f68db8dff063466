"""A pipeline of some numbers and a FeederTrainer that learns from them over a cluster."""

import os
from pathlib import Path

import tensorflow as tf
from tfx import v1 as tfx
from tfx.dsl.component.experimental.decorators import component

from tfx_feeder.components import FeederTrainer
from tfx_feeder.components.feeder_trainer.distribution.options import MultiWorker
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions

_SCHEMA = """
feature { name: "x" type: FLOAT presence { min_fraction: 1 } shape { dim { size: 1 } } }
feature { name: "label" type: INT presence { min_fraction: 1 } shape { dim { size: 1 } } }
"""


@component
def Numbers(
    examples: tfx.dsl.components.OutputArtifact[tfx.types.standard_artifacts.Examples],
    schema: tfx.dsl.components.OutputArtifact[tfx.types.standard_artifacts.Schema],
):
    tf.io.gfile.makedirs(f"{examples.uri}/Split-train")
    with tf.io.TFRecordWriter(f"{examples.uri}/Split-train/data.gz", "GZIP") as writer:
        for number in range(64):
            feature = {
                "x": tf.train.Feature(float_list=tf.train.FloatList(value=[number])),
                "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[number % 2])),
            }
            example = tf.train.Example(features=tf.train.Features(feature=feature))
            writer.write(example.SerializeToString())
    examples.split_names = '["train"]'
    tf.io.gfile.makedirs(schema.uri)
    Path(schema.uri, "schema.pbtxt").write_text(_SCHEMA)


def create() -> tfx.dsl.Pipeline:
    root = Path(os.environ["TINY_ROOT"])
    numbers = Numbers()
    trainer = FeederTrainer(
        examples=numbers.outputs["examples"],
        schema=numbers.outputs["schema"],
        model_fn="tiny_model.model_fn",
        schedule="0.01:8x2",
        strategy=MultiWorker("env"),
        feed=FeedOptions(eval_splits=()),
    )
    return tfx.dsl.Pipeline(
        pipeline_name="tiny",
        pipeline_root=str(root / "artifacts"),
        metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(
            str(root / "metadata.sqlite")
        ),
        components=[numbers, trainer],
    )
