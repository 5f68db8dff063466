import json
import os
from collections.abc import Callable
from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf

from tfx_feeder.components.image_example_gen.classes import ClassTable
from tfx_feeder.components.image_example_gen.ingest import ReadImages
from tfx_feeder.components.image_example_gen.sources import open_sources

PETS = ClassTable(("cat", "dog"))


def _run(folder: Path, classes: ClassTable, out: Path) -> tuple[list[tf.train.Example], list[dict]]:
    source = open_sources(str(folder), {"all": "*"})["all"]
    with beam.Pipeline() as pipeline:
        _ = (
            pipeline
            | ReadImages(source, classes, str(out / "rejected"))
            | beam.Map(lambda example: example.SerializeToString())
            | beam.io.WriteToTFRecord(str(out / "examples"))
        )
    written = [str(path) for path in out.glob("examples*")]
    records = tf.data.TFRecordDataset(written).as_numpy_iterator()
    lines = [line for path in out.glob("rejected*") for line in path.read_text().splitlines()]
    return [tf.train.Example.FromString(record) for record in records], list(map(json.loads, lines))


def _value(example: tf.train.Example, name: str) -> int:
    return example.features.feature[name].int64_list.value[0]


def test_files_pass_through_unchanged(make_folders: Callable[..., Path], tmp_path: Path) -> None:
    root = make_folders("cat", "dog")
    examples, rejected = _run(root, PETS, tmp_path)
    assert rejected == []
    stored = {example.features.feature["image"].bytes_list.value[0] for example in examples}
    assert stored == {path.read_bytes() for path in root.glob("*/*")}
    assert sorted(_value(example, "label") for example in examples) == [0] * 6 + [1] * 6
    assert {(_value(e, "height"), _value(e, "width")) for e in examples} == {(6, 5)}


def test_bad_files_leave_the_good_ones_alone(
    make_folders: Callable[..., Path], tmp_path: Path, png: bytes
) -> None:
    root = make_folders("cat", "dog", "emu")
    (root / "cat/short.png").write_bytes(png[:-8])
    (root / "cat/gone.png").symlink_to(root / "nowhere")
    (root / "README.txt").write_text("x")
    examples, rejected = _run(root, PETS, tmp_path)
    assert len(examples) == 12
    reasons = {
        Path(line["path"]).name: line["reason"] for line in rejected if "emu" not in line["path"]
    }
    assert reasons == {
        "short.png": "corrupt_image",
        "gone.png": "missing_file",
        "README.txt": "not_an_image",
    }
    outside = [line for line in rejected if line["reason"] == "label_outside_set"]
    assert len(outside) == 6
    assert outside[0]["cause"] == "label 'emu'"


def test_a_manifest_brings_its_columns(tmp_path: Path, png: bytes) -> None:
    folder = tmp_path / "data"
    (folder / "images").mkdir(parents=True)
    (folder / "images/a.png").write_bytes(png)
    (folder / "list.csv").write_text(
        "path,label,age,note\nimages/a.png,dog,3,x\nimages/b.png,dog,4,y\nimages,cat,5,z\n"
    )
    (example,), rejected = _run(folder, PETS, tmp_path)
    assert (_value(example, "label"), _value(example, "age")) == (1, 3)
    assert example.features.feature["note"].bytes_list.value[0] == b"x"
    assert [line["reason"] for line in rejected] == ["missing_file", "unreadable_file"]


def test_arrays_become_png(tmp_path: Path, pixels: np.ndarray) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    labels = np.arange(12) % 3
    np.savez(folder / "a.npz", images=pixels, labels=labels, form=np.arange(12))
    examples, rejected = _run(folder, PETS, tmp_path)
    kept = [_value(example, "form") for example in examples]
    assert kept == [number for number in range(12) if labels[number] < 2]
    for example in examples:
        image = example.features.feature["image"].bytes_list.value[0]
        np.testing.assert_array_equal(
            tf.io.decode_png(image).numpy(), pixels[_value(example, "form")]
        )
    assert [line["index"] for line in rejected] == [2, 5, 8, 11]
    assert {line["reason"] for line in rejected} == {"label_outside_set"}


@pytest.mark.slow
def test_several_processes_give_the_same_records(
    make_folders: Callable[..., Path], tmp_path: Path
) -> None:
    source = open_sources(str(make_folders("cat", "dog")), {"all": "*"})["all"]
    options = beam.options.pipeline_options.PipelineOptions(
        direct_running_mode="multi_processing", direct_num_workers=2, pickle_library="cloudpickle"
    )
    with beam.Pipeline(options=options) as pipeline:
        _ = (
            pipeline
            | ReadImages(source, PETS, str(tmp_path / "rejected"))
            | beam.Map(lambda example: example.SerializeToString())
            | beam.io.WriteToTFRecord(str(tmp_path / "examples"))
        )
    paths = [str(path) for path in tmp_path.glob("examples*")]
    assert sum(1 for _ in tf.data.TFRecordDataset(paths)) == 12


def test_names_of_any_bytes_and_what_is_passed_over_go_through_beam(
    make_folders: Callable[..., Path], tmp_path: Path
) -> None:
    root = make_folders("cat", "dog")
    strange = os.fsdecode(b"caf\xe9\n\x1b[2J.png")
    (root / "cat/0.png").rename(root / "cat" / strange)
    (root / "dog" / os.fsdecode(b"\xff.txt")).write_text("x")
    (root / "dog/loop").symlink_to(".")
    examples, rejected = _run(root, PETS, tmp_path)
    assert len(examples) == 12
    assert {(os.path.basename(line["path"]), line["reason"]) for line in rejected} == {
        (os.fsdecode(b"\xff.txt"), "not_an_image"),
        ("loop", "link"),
    }


def test_a_number_that_no_example_can_hold_is_rejected_alone(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    counts = np.array([1, 2**63, 3], np.uint64)
    np.savez(folder / "a.npz", images=np.zeros((3, 4, 4), np.uint8), labels=[0, 1, 1], n=counts)
    examples, (rejected,) = _run(folder, PETS, tmp_path)
    assert len(examples) == 2
    assert (rejected["reason"], rejected["index"]) == ("malformed_row", 1)
