"""All feeds: each example once a pass, the same sequence from any position, clear errors."""

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfx_feeder.common.errors import ConfigError, DataError
from tfx_feeder.components.feeder_trainer.feed.feed import Feed, open_feed
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions, Image
from tfx_feeder.components.feeder_trainer.feed.parsing import ExampleParser

N = 200
IMAGES = {"image": Image(8, 8, 1)}
KINDS = {
    "cached": {"cache": "memory"},
    "streaming": {"cache": "none", "shuffle_buffer": 30},
    "in order": {"cache": "none", "shuffle_buffer": 0},
}


@pytest.fixture(scope="module")
def feeds(digit_files: list[str], digits_spec: dict) -> dict[str, Feed]:
    opened = {}
    for kind, options in KINDS.items():
        feed = FeedOptions(images=IMAGES, weight_key="weight", **options)
        opened[kind] = open_feed(digit_files, ExampleParser(digits_spec, feed), feed, shuffle=True)
    return opened


def _ids(feed: Feed, epochs: Sequence[range], batch_size: int) -> list[list[int]]:
    return [b[0]["id"].numpy().tolist() for b in feed.batches(epochs, batch_size)]


def _flat(batches: list[list[int]]) -> list[int]:
    return [index for batch in batches for index in batch]


def _passes(count: int, first: int = 0) -> list[range]:
    return [range(i * N, (i + 1) * N) for i in range(first, first + count)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_size", [1, 32, 200])
def test_each_pass_holds_each_example_once(feeds: dict, kind: str, batch_size: int) -> None:
    batches = _ids(feeds[kind], _passes(2), batch_size)

    sizes = [len(batch) for batch in batches]
    assert sizes == 2 * ([batch_size] * (N // batch_size) + [N % batch_size] * (N % batch_size > 0))
    for one_pass in np.reshape(_flat(batches), (2, N)):
        assert sorted(one_pass) == list(range(N))


@pytest.mark.parametrize("kind", KINDS)
def test_the_sequence_goes_on_from_any_position_and_at_any_batch_size(
    feeds: dict, kind: str
) -> None:
    whole = _flat(_ids(feeds[kind], _passes(3), 32))

    for start, batch_size in ((1, 32), (96, 64), (250, 7), (400, 200)):
        epochs = [range(start, 400), range(400, 600)] if start < 400 else [range(400, 600)]
        assert _flat(_ids(feeds[kind], epochs, batch_size)) == whole[start:]


@pytest.mark.parametrize("kind", KINDS)
def test_what_an_epoch_leaves_out_is_skipped(feeds: dict, kind: str) -> None:
    whole = _flat(_ids(feeds[kind], _passes(2), 50))

    batches = _ids(feeds[kind], [range(0, 192), range(200, 392)], 64)

    assert [len(batch) for batch in batches] == [64] * 6
    assert _flat(batches) == whole[:192] + whole[200:392]


@pytest.mark.parametrize(
    "options",
    [
        *KINDS.values(),
        {"cache": "disk"},
        {"mix": {"a": 1, "b": 3}, "train_splits": ("a", "b")},
    ],
)
def test_without_a_label_key_the_batches_hold_features_only(
    digit_files: list[str], digits_spec: dict, digits: Any, tmp_path: Path, options: dict
) -> None:
    feed = FeedOptions(images=IMAGES, label_key=None, cache_dir=str(tmp_path), **options)
    files: Any = {"a": digit_files[:1], "b": digit_files[1:]} if "mix" in options else digit_files
    parser = ExampleParser(digits_spec, feed)

    def augment(features: dict, seed: tf.Tensor) -> dict:
        return {**features, "weight": features["weight"] + tf.cast(seed[0], tf.float32) + 1}

    with contextlib.closing(
        open_feed(files, parser, feed, shuffle=True, augment_fn=augment)
    ) as opened:
        for batch in (opened.sample(2), *opened.batches([range(N)], 64)):
            assert len(batch) == 1
            assert sorted(batch[0]) == sorted(digits_spec)
            ids = batch[0]["id"].numpy()
            np.testing.assert_array_equal(batch[0]["image"], digits.images[ids])
            np.testing.assert_array_equal(batch[0]["label"], digits.labels[ids])


@pytest.mark.parametrize("kind", KINDS)
def test_no_autotuning_thread_is_waited_for_at_the_end(feeds: dict, kind: str) -> None:
    feed = feeds[kind]

    for dataset in (feed.batches(_passes(1), 32), *feed.stage_datasets(32).values()):
        assert dataset.options().autotune.enabled is False


@pytest.mark.parametrize("kind", KINDS)
def test_features_labels_and_weights_stay_together(feeds: dict, kind: str, digits: Any) -> None:
    for features, label, weight in feeds[kind].batches(_passes(1), 64):
        ids = features["id"].numpy()
        np.testing.assert_array_equal(features["image"], digits.images[ids])
        np.testing.assert_array_equal(label, digits.labels[ids])
        np.testing.assert_array_equal(weight, digits.weights[ids])


def test_shuffled_passes_differ_and_validation_keeps_the_order(
    feeds: dict, digit_files: list[str], digits_spec: dict
) -> None:
    for kind in ("cached", "streaming"):
        first, second = np.reshape(_flat(_ids(feeds[kind], _passes(2), 50)), (2, N)).tolist()
        assert first != second
    in_order = _flat(_ids(feeds["in order"], _passes(1), 50))
    for options in (FeedOptions(cache="memory"), FeedOptions(cache="none")):
        feed = open_feed(digit_files, ExampleParser(digits_spec, options), options, shuffle=False)
        assert _flat(_ids(feed, _passes(1), 50)) == in_order


def test_png_images(digits: Any, digits_spec: dict, write_files: Callable) -> None:
    rows = [
        {**row, "image": tf.io.encode_png(image).numpy()}
        for row, image in zip(digits.rows(), digits.images, strict=True)
    ]
    options = FeedOptions(images={"image": Image(8, 8, 1, "file")})
    feed = open_feed(write_files(rows), ExampleParser(digits_spec, options), options, shuffle=True)

    features, _ = next(iter(feed.batches([range(32)], 32)))

    np.testing.assert_array_equal(features["image"], digits.images[features["id"].numpy()])


def test_auto_holds_in_memory_what_fits(digit_files: list[str], digits_spec: dict) -> None:
    options = FeedOptions(images=IMAGES)
    feed = open_feed(digit_files, ExampleParser(digits_spec, options), options, shuffle=True)

    assert feed.description.startswith("memory")


@pytest.mark.parametrize("gzip", [True, False])
def test_auto_decides_the_same_in_every_attempt(
    write_files: Callable, tmp_path: Path, gzip: bool
) -> None:
    # The first examples, from which the size is estimated, are not like the others.
    spec = {key: tf.io.FixedLenFeature([], tf.string) for key in ("text", "label")}
    noise = np.random.default_rng(0).bytes(60_000)
    first = [{"text": noise, "label": str(i)} for i in range(32)]
    others = [{"text": noise[i : i + 200], "label": str(i)} for i in range(1_000)]
    paths = write_files([*first, *others], gzip=gzip)
    options = FeedOptions(memory_budget_mb=4, cache_dir=str(tmp_path))

    feeds = [
        open_feed(paths, ExampleParser(spec, options), options, shuffle=True) for _ in range(2)
    ]

    assert feeds[0].description == feeds[1].description
    assert feeds[0].description.startswith("memory")


def test_features_of_varying_length_are_streamed(write_files: Callable) -> None:
    spec = {
        "tags": tf.io.VarLenFeature(tf.int64),
        "label": tf.io.FixedLenFeature([], tf.int64),
    }
    paths = write_files([{"tags": [1] * (i % 3), "label": i} for i in range(20)])
    auto, memory = FeedOptions(), FeedOptions(cache="memory")

    feed = open_feed(paths, ExampleParser(spec, auto), auto, shuffle=True)

    assert feed.description.startswith("none")
    labels = [label for _, batch in feed.batches([range(20)], 8) for label in batch.numpy()]
    assert sorted(labels) == list(range(20))
    with pytest.raises(ConfigError, match="vary in length"):
        open_feed(paths, ExampleParser(spec, memory), memory, shuffle=True)


def test_empty_splits_are_refused(write_files: Callable, digits_spec: dict) -> None:
    options = FeedOptions()
    parser = ExampleParser(digits_spec, options)

    for paths, cause in ((write_files([], files=2), "no examples"), ([], "no files")):
        with pytest.raises(DataError, match=cause):
            open_feed(paths, parser, options, shuffle=True)


@pytest.mark.parametrize("cache", ["memory", "none"])
@pytest.mark.parametrize("gzip", [True, False])
def test_a_truncated_file_is_refused_by_name(
    digits: Any, digits_spec: dict, write_files: Callable, cache: str, gzip: bool
) -> None:
    paths = write_files(digits.rows(), files=2, gzip=gzip)
    contents = Path(paths[1]).read_bytes()
    Path(paths[1]).write_bytes(contents[: len(contents) // 2])
    options = FeedOptions(cache=cache)

    with pytest.raises(DataError, match=Path(paths[1]).name):
        open_feed(paths, ExampleParser(digits_spec, options), options, shuffle=True)


@pytest.mark.parametrize("cache", ["memory", "none"])
@pytest.mark.parametrize(
    ("changes", "cause"),
    [({"label": None}, "label"), ({"image": bytes(63)}, "image"), ({"image": bytes(256)}, "image")],
)
def test_an_example_that_does_not_fit_is_refused_by_its_feature(
    digits: Any, digits_spec: dict, write_files: Callable, cache: str, changes: dict, cause: str
) -> None:
    rows = digits.rows()[:50]
    rows[30] = {k: v for k, v in {**rows[30], **changes}.items() if v is not None}
    options = FeedOptions(images=IMAGES, cache=cache)

    with pytest.raises(DataError, match=cause):
        open_feed(write_files(rows), ExampleParser(digits_spec, options), options, shuffle=True)
