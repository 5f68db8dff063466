"""Annotated examples and their slices, by Beam's local runner."""

import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.slice_gen.classifier_options import ClassifierTestOptions
from tfx_feeder.components.slice_gen.code_table import CodeTable
from tfx_feeder.components.slice_gen.generate import generate
from tfx_feeder.components.slice_gen.inputs import Inputs
from tfx_feeder.components.slice_gen.options import LossOptions, SliceGenOptions
from tfx_feeder.components.slice_gen.passes import Measure, MeasurementPlan
from tfx_feeder.components.slice_gen.plan import make_plan
from tfx_feeder.components.slice_gen.search import SliceSearchOptions
from tfx_feeder.schemas.slices import SLICES_FEATURE, Remark, Slices
from tfx_feeder.schemas.statistics import FeatureStatistics, SplitStatistics

NUMBER = 600


def _feature(values: list[Any]) -> tf.train.Feature:
    if values and isinstance(values[0], bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
    if values and isinstance(values[0], float):
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def _serialize(row: Mapping[str, list[Any]]) -> bytes:
    features = {name: _feature(values) for name, values in row.items()}
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return example.SerializeToString(deterministic=True)


@functools.cache
def _image(shade: int, side: int) -> bytes:
    return tf.io.encode_png(np.full((side, side, 1), shade, np.uint8)).numpy()


def _row(number: int) -> dict[str, list[Any]]:
    """Row with a model score that is wrong where the form is 3 and the image is dark."""
    form, dark = number % 4, number % 3 == 0
    wrong = form == 3 and dark
    label = number % 2
    row = {
        "form": [form],
        "label": [label],
        "score": [float(label != wrong)],
        "age": [float(number)],
        "tags": [b"red", b"blue"] if number % 5 == 0 else [b"red"],
        "image": [_image(20 if dark else 200, 4)],
        "user": [f"user {number}".encode()],
    }
    if number % 6 == 1:
        del row["tags"]
    return row


ROWS = [_row(number) for number in range(NUMBER)]
STATISTICS = SplitStatistics(
    "eval",
    NUMBER,
    (
        FeatureStatistics("form", "number", 0, minimum=0, maximum=3, integer=True),
        FeatureStatistics("label", "number", 0, minimum=0, maximum=1, integer=True),
        FeatureStatistics(
            "age", "number", 0, minimum=0, maximum=599, quantiles=(0.0, 150.0, 300.0, 450.0, 599.0)
        ),
        FeatureStatistics(
            "tags", "category", 16, unique=2, fractions=(("red", 0.8), ("blue", 0.2)), most_values=2
        ),
        FeatureStatistics(
            "user",
            "category",
            0,
            unique=NUMBER,
            fractions=tuple((f"user {n}", 1 / NUMBER) for n in range(NUMBER)),
        ),
        FeatureStatistics("image", "bytes", 0),
    ),
)
FEATURES = ("form", "label", "score", "age", "tags", "image", "user", "gone")


class Scored(tf.Module):
    """Model whose prediction is a feature of the example; NaN below the age of ``unknown``."""

    def __init__(self, unknown: float = 0.0) -> None:
        super().__init__()
        self.unknown = unknown

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "examples")])
    def serve(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        spec = {n: tf.io.FixedLenFeature([], tf.float32) for n in ("score", "age")}
        parsed = tf.io.parse_example(examples, spec)
        unknown = parsed["age"] < self.unknown
        return {"scores": tf.where(unknown, float("nan"), parsed["score"])[:, None]}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("model"))
    scored = Scored(unknown=20.0)
    tf.saved_model.save(scored, folder, {"serving_default": scored.serve})
    return folder


def _generate(
    folder: Path,
    options: SliceGenOptions,
    rows: list[Any] = ROWS,
    splits: Sequence[str] = ("eval",),
    **inputs: Any,
) -> tuple[Slices, list[Counter[str]]]:
    """Returns the slices, and the names that each example carries."""
    _write(folder / "in", rows)
    made = generate(
        beam.Pipeline,
        Inputs((str(folder / "in"),), STATISTICS, FEATURES, **inputs),
        options,
        outputs={split: str(folder / split / "data") for split in splits},
        temporary=str(folder / "temporary"),
    ).slices
    assert not (folder / "temporary").exists()
    written = _written(folder, "eval")
    named = [Counter(_pop_names(example)) for example in written]
    assert sorted(e.SerializeToString(deterministic=True) for e in written) == sorted(
        map(_serialize, rows)
    )
    assert all(set(names.values()) <= {1} for names in named)
    if "drift" in splits:
        assert len(_written(folder, "drift")) == made.examples["drift"]
    return made, named


def _write(folder: Path, rows: list[Any]) -> None:
    folder.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(folder / "data.gz"), "GZIP") as writer:
        for row in rows:
            writer.write(_serialize(row))


def _written(folder: Path, split: str) -> list[tf.train.Example]:
    paths = sorted(map(str, (folder / split).glob("data-*.gz")))
    records = tf.data.TFRecordDataset(paths, "GZIP")
    return [tf.train.Example.FromString(record.numpy()) for record in records]


def _pop_names(example: tf.train.Example) -> list[str]:
    names = example.features.feature.pop(SLICES_FEATURE).bytes_list.value
    return [name.decode() for name in names]


def test_declared_features_and_crosses(tmp_path: Path) -> None:
    options = SliceGenOptions(
        slices=("form", "age", "tags", ("label", "form"), "user", "gone"), intervals=2, max_values=6
    )
    made, named = _generate(tmp_path, options)
    counted = sum(named, Counter())
    assert counted == {found.name: found.examples for found in made.slices}
    assert {name: n for name, n in counted.items() if not name.startswith("user")} == {
        "split eval": 600,
        **{f"form {n}": 150 for n in range(4)},
        "age (-inf, 300)": 300,
        "age [300, inf)": 300,
        "tags red": 500,
        "tags blue": 100,
        "tags (missing)": 100,
        # The label is odd where the form is.
        **{f"form {n}, label {n % 2}": 150 for n in range(4)},
    }
    assert made.find("form 1, label 1").predicate == (("form", "1"), ("label", "1"))
    assert {found.origin for found in made.slices} == {"split", "declared"}
    assert made.remarks == (
        Remark("user", "values beyond the 6 most frequent ones are no slices", 594),
        Remark("gone", "the examples do not have the feature"),
    )


def test_the_weak_slice_of_a_model_is_proposed(tmp_path: Path, model: str) -> None:
    options = SliceGenOptions(
        slices=("form",),
        image_feature="image",
        loss=LossOptions("label"),
        search=SliceSearchOptions(min_examples=20),
    )
    rows = [*ROWS, {**_row(0), "image": [b"no image"]}, {**_row(40), "label": []}]
    made, named = _generate(tmp_path, options, rows, model=model)
    (found,) = made.of_origin("proposed")
    assert found.name == "brightness (-inf, 0.784), form 3"
    assert found.examples == 50 == sum(names[found.name] for names in named)
    assert found.evidence.measure == "error rate"
    assert found.evidence.p_value < 1e-6
    assert (found.evidence.value, found.evidence.elsewhere) == (1.0, 0.0)
    assert found.evidence.low < found.evidence.effect == 1.0
    assert 0 < found.evidence.examples < 30
    assert made.search.searched + made.search.held_out == 580
    assert Remark("loss", "the prediction is not finite", 21) in made.remarks
    assert Remark("loss", "the label is missing", 1) in made.remarks
    # The image is measured again, because a slice is made of it.
    assert Remark("image", "the image cannot be decoded", 1) in made.remarks
    again, _ = _generate(tmp_path, options, rows[::-1], model=model)
    assert again == made


def test_what_does_not_fit_is_told_and_the_rest_goes_on(tmp_path: Path, model: str) -> None:
    options = SliceGenOptions(
        slices=("brightness", "color", ("age", "form")),
        boundaries={"brightness": (0.5,)},
        intervals=2,
        max_values=6,
        image_feature="image",
        loss=LossOptions("label", signature="other"),
    )
    rows = [row for row in ROWS if row["form"] != [3] or row["age"][0] >= 300]
    # Of the 7 combinations that exist, one is the rarest.
    rows = [row for row in rows if row["form"] != [2] or row["age"][0] >= 100]
    made, named = _generate(tmp_path, options, rows, model=model)
    counted = sum(named, Counter())
    assert counted["brightness (-inf, 0.5)"] == sum(row["image"] == [_image(20, 4)] for row in rows)
    crossed = {name for name in counted if name.startswith("age")}
    assert crossed == {f"age {age}, form {form}" for age, form in _FREQUENT}
    reason = "combinations beyond the 6 most frequent ones are no slices"
    assert Remark("age x form", reason, 1) in made.remarks
    assert Remark("color", "all images have the same value") in made.remarks
    assert made.search is None
    (refused,) = (remark for remark in made.remarks if remark.subject == "model")
    assert "no signature 'other'" in refused.reason


_YOUNG, _OLD = "(-inf, 300)", "[300, inf)"
_FREQUENT = ((_YOUNG, 0), (_YOUNG, 1), (_OLD, 0), (_OLD, 1), (_OLD, 2), (_OLD, 3))


def test_an_empty_split_is_told(tmp_path: Path) -> None:
    made, named = _generate(tmp_path, SliceGenOptions(slices=("form", ("form", "age"))), [])
    assert (made.slices, named) == ((), [])
    assert Remark("split eval", "it has no examples") in made.remarks


def test_examples_that_carry_a_drift_are_a_split_and_slices_of_their_own(tmp_path: Path) -> None:
    def statistics(shares: Mapping[str, float]) -> SplitStatistics:
        tags = FeatureStatistics(
            "tags",
            "category",
            0,
            unique=2,
            fractions=tuple(shares.items()),
            present=NUMBER,
            values=NUMBER,
            counted=NUMBER,
        )
        return SplitStatistics("train", NUMBER, (tags,))

    made, named = _generate(
        tmp_path,
        SliceGenOptions(slices=("form",)),
        splits=("eval", "drift"),
        compared=(
            statistics({"red": 0.8, "blue": 0.2}),
            statistics({"red": 0.95, "blue": 0.05}),
        ),
    )
    (found,) = made.of_origin("drift")[:1]
    assert (found.name, found.examples) == ("tags blue", 100)
    assert found.evidence.measure == "share of the examples"
    assert (found.evidence.value, found.evidence.elsewhere) == (0.2, 0.05)
    assert found.evidence.low < found.evidence.effect < found.evidence.high
    assert found.evidence.p_value < 1e-9
    assert sum(names["tags blue"] for names in named) == 100
    assert made.examples == {"eval": 600, "drift": 100}
    drifted = [_pop_names(example) for example in _written(tmp_path, "drift")]
    assert drifted == 100 * [["split drift, tags blue", "split drift"]]
    assert made.find("split drift, tags blue").evidence == found.evidence


def test_changed_images_are_a_drift_although_no_statistics_tell(tmp_path: Path) -> None:
    def with_images(shade: int) -> list[Any]:
        random = np.random.default_rng(shade)
        shades = np.clip(random.normal(shade, 20, NUMBER), 0, 255).astype(int)
        return [
            {**row, "image": [_image(int(found), 4)]}
            for row, found in zip(ROWS, shades, strict=True)
        ]

    image = FeatureStatistics("image", "bytes", 0, present=NUMBER)
    statistics = SplitStatistics("eval", NUMBER, (image,))
    for folder, shade in (("earlier", 100), ("same", 121)):
        _write(tmp_path / folder, with_images(shade))
    options = SliceGenOptions(
        slices=("form",), image_feature="image", classifier=ClassifierTestOptions()
    )

    def compared_with(folder: str) -> Slices:
        return _generate(
            tmp_path,
            options,
            with_images(120),
            splits=("eval", "drift"),
            compared=(statistics, statistics),
            baseline_examples=(str(tmp_path / folder),),
        )[0]

    made = compared_with("earlier")
    assert {found.name.split()[0] for found in made.of_origin("drift")} == {"brightness"}
    brightest = max(made.of_origin("drift"), key=lambda found: found.name)
    assert brightest.evidence.value > 2 * brightest.evidence.elsewhere
    assert compared_with("same").of_origin("drift") == ()


def test_of_many_examples_a_sample_is_measured() -> None:
    plan = make_plan(STATISTICS, FEATURES, SliceGenOptions())
    batch = [_serialize(row) for row in ROWS]

    def keys(fraction: float) -> set[int]:
        measure = Measure(MeasurementPlan(plan.encoders, plan.columns, None, None, None, fraction))
        measure.start_bundle()
        tables = [CodeTable.load([record]) for record in measure.process(batch)]
        return {int(key) for table in tables if table for key in table.keys}

    few, more = keys(0.1), keys(0.3)
    assert 30 < len(few) < 100 < len(more) < 240
    assert few < more
    assert keys(0) == set()


@pytest.mark.parametrize(
    "options",
    [
        {"slices": ("frm",)},
        {"slices": ("brightness",)},  # Without image_feature.
        {"columns": ("frm",)},
        {"boundaries": {"frm": (1,)}},
        {"loss": LossOptions("target")},
        {"image_feature": "picture"},
    ],
)
def test_a_feature_that_does_not_exist_is_an_error_that_lists_those_that_do(options: dict) -> None:
    with pytest.raises(ConfigError, match="a feature of the schema: age, form"):
        make_plan(STATISTICS, FEATURES, SliceGenOptions(**options))


def test_identifiers_and_extreme_labels_are_not_searched() -> None:
    plan = make_plan(STATISTICS, FEATURES, SliceGenOptions(max_columns=4))
    assert [column.name for column in plan.columns] == ["form", "label", "age", "tags", "tags"]
    of_number = SliceGenOptions(loss=LossOptions("label", kind="squared_error"), max_columns=2)
    limited = make_plan(STATISTICS, FEATURES, of_number)
    assert [column.name for column in limited.columns] == ["form", "age"]
    assert limited.remarks == (Remark("columns", "only 2 are searched", 1),)
    hidden = make_plan(STATISTICS, (*FEATURES, "size"), SliceGenOptions(image_feature="image"))
    assert "size" not in hidden.properties
