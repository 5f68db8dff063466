"""Most frequent combinations of crosses that have too many of them to be slices all."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam

from tfx_feeder.components.slice_gen.encoders import Encoder
from tfx_feeder.components.slice_gen.passes import COUNTS, CountCombinations, read
from tfx_feeder.components.slice_gen.scratch import Scratch
from tfx_feeder.components.slice_gen.split_slices import Kept
from tfx_feeder.schemas.slices import Remark


@dataclass(frozen=True, slots=True)
class CrossCounts:
    """Outcome of counting.

    Args:
        kept: Combinations of codes that are slices, by cross.
        remarks: Numbers of those that are not.
    """

    kept: Kept
    remarks: tuple[Remark, ...] = ()


def count_crosses(
    make_pipeline: Callable[[], beam.Pipeline],
    folders: Sequence[str],
    crosses: Sequence[tuple[str, ...]],
    encoders: Mapping[str, Encoder],
    *,
    image_feature: str | None,
    most: int,
    scratch: Scratch,
) -> CrossCounts:
    """Counts the combinations of crosses that may have too many; the examples are read once.

    Args:
        make_pipeline: Creates a Beam pipeline.
        folders: Folders of TFRecord files of the examples.
        crosses: Declared features and crosses.
        encoders: Encoders by column.
        image_feature: Feature with an encoded image, whose properties may be columns.
        most: Largest number of combinations of a cross that are slices.
        scratch: Temporary files.
    """
    large = [
        cross
        for cross in crosses
        if len(cross) > 1 and math.prod(len(encoders[name].values) for name in cross) > most
    ]
    if not large:
        return CrossCounts({})
    columns = {name: encoders[name] for cross in large for name in cross}
    with make_pipeline() as pipeline:
        outputs: Any = read(pipeline, folders) | "Count" >> beam.ParDo(
            CountCombinations(columns, image_feature, large)
        ).with_outputs(COUNTS, main="none")
        counted = outputs[COUNTS] | "Sum" >> beam.CombinePerKey(sum)
        by_cross = counted | "ByCross" >> beam.MapTuple(_by_cross)
        top = by_cross | "Top" >> beam.combiners.Top.LargestPerKey(most)
        number = by_cross | "Number" >> beam.combiners.Count.PerKey()
        scratch.write_json(top, "top")
        scratch.write_json(number, "number")
    numbers = dict(scratch.read_json("number"))
    kept: dict[tuple[str, ...], list[tuple[int, ...]]] = {cross: [] for cross in large}
    remarks = []
    for position, best in scratch.read_json("top"):
        cross = large[position]
        kept[cross] = [tuple(combination) for _, combination in best]
        if (left := numbers[position] - len(best)) > 0:
            reason = f"combinations beyond the {most} most frequent ones are no slices"
            remarks.append(Remark(" x ".join(cross), reason, left))
    return CrossCounts(kept, tuple(remarks))


def _by_cross(
    key: tuple[int, tuple[int, ...]], count: int
) -> tuple[int, tuple[int, tuple[int, ...]]]:
    position, combination = key
    return position, (count, combination)
