"""Every payload that TFX writes is fed, or refused by name."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.feed.feed import open_feed
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions, Image
from tfx_feeder.components.feeder_trainer.feed.parsing import ExampleParser


@pytest.fixture
def parquet_file(tmp_path):
    """Columns of every kind, plain as a table has them and in lists as Transform writes them."""
    count = 5000
    table = pa.table(
        {
            "image": [bytes([number % 251]) * 12 for number in range(count)],
            "label": pa.array(range(count), pa.int32()),
            "flag": [number % 2 == 0 for number in range(count)],
            "fare": pa.array([[number / 2, 0.5] for number in range(count)]),
            "tip": [None if number % 3 else float(number) for number in range(count)],
        }
    )
    path = tmp_path / "split" / "data_parquet-00000-of-00001.parquet"
    path.parent.mkdir()
    pq.write_table(table, path)
    return str(path)


SPEC = {
    "image": tf.io.FixedLenFeature([], tf.string),
    "label": tf.io.FixedLenFeature([], tf.int64),
    "flag": tf.io.FixedLenFeature([], tf.int64),
    "fare": tf.io.FixedLenFeature([2], tf.float32),
    "tip": tf.io.FixedLenFeature([], tf.float32, -1.0),
}


@pytest.mark.parametrize("cache", ["memory", "none"])
def test_parquet_is_fed(cache, parquet_file):
    options = FeedOptions(images={"image": Image(2, 2, 3)}, cache=cache)
    feed = open_feed([parquet_file], ExampleParser(SPEC, options), options, shuffle=False)
    assert feed.num_examples == 5000
    for features, label in feed.batches([range(5000)], 5000):
        number = np.arange(5000)
        np.testing.assert_array_equal(label, number)
        np.testing.assert_array_equal(features["image"][:, 1, 1, 2], number % 251)
        np.testing.assert_array_equal(features["flag"], number % 2 == 0)
        np.testing.assert_array_equal(features["fare"][:, 0], number / 2)
        np.testing.assert_array_equal(features["tip"], np.where(number % 3, -1, number))


@pytest.mark.slow
def test_what_the_stock_example_gen_writes(parquet_file, tmp_path):
    from tfx.components.example_gen.import_example_gen.executor import Executor
    from tfx.proto import example_gen_pb2
    from tfx.types import standard_artifacts
    from tfx.utils import proto_utils

    from tfx_feeder.components.feeder_trainer.executor import read_splits

    examples = standard_artifacts.Examples()
    examples.uri = str(tmp_path / "examples")
    examples.split_names = '["train", "eval"]'
    examples.set_int_custom_property("span", 3)
    split_config = example_gen_pb2.SplitConfig(
        splits=[
            example_gen_pb2.SplitConfig.Split(name="train", hash_buckets=3),
            example_gen_pb2.SplitConfig.Split(name="eval", hash_buckets=1),
        ]
    )
    splits = [example_gen_pb2.Input.Split(name="all", pattern="*.parquet")]
    Executor().Do(
        {},
        {"examples": [examples]},
        {
            "input_base": str(tmp_path / "split"),
            "input_config": proto_utils.proto_to_json(example_gen_pb2.Input(splits=splits)),
            "output_config": proto_utils.proto_to_json(
                example_gen_pb2.Output(split_config=split_config)
            ),
            "output_data_format": example_gen_pb2.PayloadFormat.FORMAT_PARQUET,
        },
    )
    options = FeedOptions(images={"image": Image(2, 2, 3)})
    labels = []
    for name in ("train", "eval"):
        (split,) = read_splits([examples], [name])
        assert split.span == 3
        feed = open_feed(split.paths, ExampleParser(SPEC, options), options, shuffle=True)
        labels += [
            int(n) for _, label in feed.batches([range(feed.num_examples)], 99) for n in label
        ]
    assert sorted(labels) == list(range(5000))


@pytest.mark.slow
@pytest.mark.parametrize("payload", ["FORMAT_TF_SEQUENCE_EXAMPLE", "FORMAT_PROTO"])
def test_other_payloads_are_refused_by_name(payload):
    from tfx.types import standard_artifacts

    from tfx_feeder.components.feeder_trainer.executor import read_splits

    examples = standard_artifacts.Examples()
    examples.split_names = '["train"]'
    examples.set_string_custom_property("payload_format", payload)
    with pytest.raises(ConfigError, match=payload):
        read_splits([examples], ["train"])
