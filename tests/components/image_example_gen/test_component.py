"""The component in real pipelines: Beam, MLMD, and the driver's resolution of spans."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfx_feeder.common.errors import ConfigError, DataError, FeederError

pytestmark = pytest.mark.slow
BEAM = ["--sdk_container_image=none", "--allow_unsafe_triggers", "--pickle_library=cloudpickle"]


@pytest.fixture
def gen() -> Any:
    from tfx_feeder.components import ImageExampleGen

    return ImageExampleGen


@pytest.fixture
def run(tmp_path: Path) -> Callable[[Any], Any]:
    """Runs a component in a pipeline of its own and returns its newest artifact."""

    from ml_metadata import MetadataStore
    from tfx import v1 as tfx

    def launch(component: Any) -> Any:
        store = tfx.orchestration.metadata.sqlite_metadata_connection_config(
            str(tmp_path / "metadata.db")
        )
        pipeline = tfx.dsl.Pipeline(
            pipeline_name="test",
            pipeline_root=str(tmp_path / "root"),
            components=[component],
            enable_cache=True,
            metadata_connection_config=store,
            beam_pipeline_args=BEAM,
        )
        tfx.orchestration.LocalDagRunner().run(pipeline)
        return MetadataStore(store).get_artifacts()[-1]

    return launch


def _split(artifact: Any, name: str) -> dict[bytes, int]:
    paths = tf.io.gfile.glob(f"{artifact.uri}/Split-{name}/*")
    records = tf.data.TFRecordDataset(paths, compression_type="GZIP").as_numpy_iterator()
    columns = [tf.train.Example.FromString(record).features.feature for record in records]
    return {c["image"].bytes_list.value[0]: c["label"].int64_list.value[0] for c in columns}


def _int(artifact: Any, name: str) -> int:
    return artifact.custom_properties[name].int_value


def _save(folder: Path, count: int, seed: int) -> None:
    folder.mkdir(parents=True)
    images = np.random.default_rng(seed).integers(0, 256, (count, 8, 8), dtype=np.uint8)
    np.savez(folder / "digits.npz", images=images, labels=np.arange(count) % 10)


def _input(**patterns: str) -> Any:
    from tfx.v1.proto import Input

    return Input(splits=[Input.Split(name=name, pattern=p) for name, p in patterns.items()])


def _at(span: int) -> Any:
    from tfx.v1 import proto

    return proto.RangeConfig(
        static_range=proto.StaticRange(start_span_number=span, end_span_number=span)
    )


def test_spans_as_stock_resolves_them(gen: Any, run: Callable, tmp_path: Path) -> None:
    data = tmp_path / "data"
    _save(data / "span-1", 60, 1)
    _save(data / "span-2", 90, 2)

    def component(**kwargs: Any) -> Any:
        return gen(str(data), input_config=_input(all="span-{SPAN}/*"), **kwargs)

    latest = run(component())
    assert _int(latest, "span") == 2
    first = run(component(range_config=_at(1)))
    assert _int(first, "span") == 1
    train, evaluation = _split(first, "train"), _split(first, "eval")
    assert len(train) + len(evaluation) == 60
    assert len(train) > len(evaluation) > 0
    assert _int(first, "num_examples_train") == len(train)
    assert _int(first, "num_examples_eval") == len(evaluation)
    assert _int(first, "num_classes") == 10
    assert first.custom_properties["payload_format"].string_value == "FORMAT_TF_EXAMPLE"
    assert json.loads(Path(first.uri, "classes.json").read_text()) == list("0123456789")
    assert Path(first.uri, "rejected.jsonl").read_bytes() == b""
    fingerprint = first.custom_properties["input_fingerprint"].string_value
    assert fingerprint.startswith("split:all,num_files:1,")
    assert run(component(range_config=_at(1))).id == first.id, "an unchanged span is cached"
    with pytest.raises(ConfigError, match="a span under"):
        component(range_config=_at(3))


def test_versions_within_a_span(gen: Any, run: Callable, tmp_path: Path) -> None:
    _save(tmp_path / "data/span-1/version-1", 40, 1)
    _save(tmp_path / "data/span-1/version-2", 50, 2)
    config = _input(all="span-{SPAN}/version-{VERSION}/*")
    artifact = run(gen(str(tmp_path / "data"), input_config=config))
    assert (_int(artifact, "span"), _int(artifact, "version")) == (1, 2)
    assert _int(artifact, "num_examples_train") + _int(artifact, "num_examples_eval") == 50


def test_a_moved_image_is_noticed_and_its_split_stays(
    gen: Any, run: Callable, make_folders: Callable[..., Path]
) -> None:
    root = make_folders("cat", "dog")
    before = run(gen(str(root)))
    (root / "cat/0.png").rename(root / "dog/zero.png")
    after = run(gen(str(root)))
    assert after.id != before.id
    for name in ("train", "eval"):
        assert _split(before, name).keys() == _split(after, name).keys()
    labels = [_split(a, "train") | _split(a, "eval") for a in (before, after)]
    assert sum(labels[1].values()) == sum(labels[0].values()) + 1


def test_copies_of_an_image_share_a_split(
    gen: Any, run: Callable, make_folders: Callable[..., Path]
) -> None:
    root = make_folders("cat", "dog")
    for path in list(root.glob("cat/*")):
        (root / "dog" / f"copy-{path.name}").write_bytes(path.read_bytes())
    artifact = run(gen(str(root)))
    assert not _split(artifact, "train").keys() & _split(artifact, "eval").keys()
    assert _int(artifact, "num_examples_train") + _int(artifact, "num_examples_eval") == 18


def test_named_splits_and_named_buckets(
    gen: Any, run: Callable, make_folders: Callable[..., Path]
) -> None:
    from tfx.v1.proto import Output, SplitConfig

    make_folders("cat", "dog", under="data/train")
    root = make_folders("dog", under="data/eval").parent
    config = _input(train="train/*", eval="eval/*")
    artifact = run(gen(str(root), input_config=config))
    assert sorted(_split(artifact, "train").values()) == [0] * 6 + [1] * 6
    assert set(_split(artifact, "eval").values()) == {1}
    buckets = [SplitConfig.Split(name=name, hash_buckets=1) for name in "abc"]
    output = Output(split_config=SplitConfig(splits=buckets))
    artifact = run(gen(str(root / "train"), output_config=output))
    assert artifact.properties["split_names"].string_value == '["a", "b", "c"]'


def test_one_keras_file_for_both_splits(gen: Any, run: Callable, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (30, 8, 8), dtype=np.uint8)
    labels = np.arange(30) % 10
    np.savez(
        tmp_path / "mnist.npz",
        **{"x_train": images[:20], "y_train": labels[:20]},
        **{"x_test": images[20:], "y_test": labels[20:]},
    )
    config = _input(train="mnist.npz", eval="mnist.npz")
    artifact = run(gen(str(tmp_path), input_config=config))
    counts = [_int(artifact, f"num_examples_{name}") for name in ("train", "eval")]
    assert counts == [20, 10]


def test_too_much_rejected_fails_and_keeps_the_list(
    gen: Any, run: Callable, make_folders: Callable[..., Path], tmp_path: Path
) -> None:
    root = make_folders("cat", "dog")
    (root / "cat/bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (root / "README.txt").write_text("x")
    with pytest.raises(DataError, match=r"1 of 13 records.*corrupt_image 1") as caught:
        run(gen(str(root)))
    kept = Path(str(caught.value).rpartition("See ")[2])
    assert kept.is_relative_to(tmp_path / "root")
    assert sorted(json.loads(line)["reason"] for line in kept.read_text().splitlines()) == [
        "corrupt_image",
        "not_an_image",
    ]
    artifact = run(gen(str(root), max_rejected_fraction=0.1))
    assert _int(artifact, "rejected_corrupt_image") == 1
    assert _int(artifact, "rejected_not_an_image") == 1


def test_an_empty_split_is_an_error(gen: Any, run: Callable, tmp_path: Path) -> None:
    same = np.zeros((4, 8, 8), np.uint8)
    np.savez(tmp_path / "same.npz", images=same, labels=np.arange(4) % 2)
    with pytest.raises(DataError, match="has no images"):
        run(gen(str(tmp_path), input_config=_input(all="same.npz")))


def test_errors_at_build_time(gen: Any, make_folders: Callable[..., Path], tmp_path: Path) -> None:
    root = make_folders("cat")
    empty = tmp_path / "empty"
    os.mkdir(empty)
    for kwargs, message in (
        ({"input_base": str(tmp_path / "nowhere")}, "input_base.*exists"),
        ({"input_base": str(empty)}, "empty"),
        ({"input_base": str(root)}, "two classes or more. Found: cat"),
        ({"input_base": str(root), "source": "zip"}, "source"),
        ({"input_base": str(root), "classes": ["cat"]}, "classes"),
        ({"input_base": str(root), "max_rejected_fraction": 2}, "max_rejected_fraction"),
    ):
        with pytest.raises(FeederError, match=message):
            gen(**kwargs)
    gen(str(tmp_path / "nowhere"), check_input=False)
    gen(str(root), classes=["cat", "dog"])
