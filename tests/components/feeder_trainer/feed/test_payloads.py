"""Every payload that TFX writes is fed, or refused by name."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from tfx_feeder.common.errors import ConfigError, DataError
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
            "place": pa.array(
                [[number, 0.25] for number in range(count)], pa.list_(pa.float64(), 2)
            ),
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
    "place": tf.io.FixedLenFeature([2], tf.float32),
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
        np.testing.assert_array_equal(features["place"][:, 0], number)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([[1.0, None, 3.0]]),
        pa.array([[b"a", None]]),
        pa.array([[1, None]], pa.list_(pa.int64(), 2)),
        pa.array([0], pa.timestamp("ms")),
        pa.array([2**63], pa.uint64()),
    ],
    ids=lambda column: str(column.type),
)
def test_a_column_that_an_example_cannot_hold_is_named(column, tmp_path):
    pq.write_table(pa.table({"label": [1], "odd": column}), tmp_path / "data.parquet")
    options = FeedOptions()
    spec = {"label": SPEC["label"], "odd": tf.io.VarLenFeature(tf.float32)}
    with pytest.raises(DataError, match=r"column 'odd' of .*data\.parquet"):
        open_feed(
            [str(tmp_path / "data.parquet")], ExampleParser(spec, options), options, shuffle=False
        )


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
