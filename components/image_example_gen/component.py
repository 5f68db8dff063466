"""The ImageExampleGen component: its arguments, and what is checked when it is declared."""

from collections.abc import Sequence
from typing import Any

from tfx import v1 as tfx
from tfx.components.example_gen import component, input_processor, utils
from tfx.dsl.components.base import executor_spec
from tfx.proto import example_gen_pb2, range_config_pb2

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.image_example_gen import classes as class_tables
from tfx_feeder.components.image_example_gen import driver, exec_properties, executor
from tfx_feeder.components.image_example_gen.options import IngestOptions
from tfx_feeder.components.image_example_gen.sources import open_sources


class ImageExampleGen(component.FileBasedExampleGen):
    """Turns labelled images into Examples: class folders, a CSV manifest, arrays, IDX, CIFAR-10.

    Component outputs:

    - ``examples``: splits of gzipped TFRecords with the features ``image`` (PNG or JPEG bytes),
      ``label``, ``height``, ``width`` (int64) and the further columns of the source. Beside the
      splits lie ``classes.json`` and ``rejected.jsonl``; custom properties hold ``span``,
      ``version``, ``input_fingerprint``, ``num_classes``, ``num_examples_<split>`` and
      ``rejected_<reason>``.

    Args:
        input_base: Folder, local or remote.
        source: ``auto``, ``class_folders``, ``manifest``, ``arrays``, ``idx`` or ``cifar10``.
        input_config: Input splits and their patterns, with ``{SPAN}`` and ``{VERSION}`` where
            wanted; all files are one split by default.
        output_config: Output splits; 2 parts train and 1 part eval by default. The hash is taken
            of the image unless another ``partition_feature_name`` is given, so that copies of an
            image land in the same split.
        range_config: Which span to read; the latest by default.
        classes: Class names in index order; by default they come from the data.
        max_rejected_fraction: Largest tolerated share of records left out, 0 to 1.
        check_input: Look at a local ``input_base`` now; False where only the workers see it.

    Raises:
        ConfigError: An argument is out of range, or the folder or span does not exist.
        DataError: The folder holds no usable source, or a single class.
    """

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)
    DRIVER_CLASS = driver.Driver

    def __init__(
        self,
        input_base: str,
        *,
        source: str = "auto",
        input_config: example_gen_pb2.Input | None = None,
        output_config: example_gen_pb2.Output | None = None,
        range_config: Any = None,
        classes: Sequence[str] | None = None,
        max_rejected_fraction: float = 0.01,
        check_input: bool = True,
    ) -> None:
        options = IngestOptions(
            source=source,
            classes=tuple(classes) if classes is not None else None,
            max_rejected_fraction=max_rejected_fraction,
        )
        input_config = input_config or utils.make_default_input_config()
        output_config = output_config or utils.make_default_output_config(input_config)
        if check_input and "://" not in input_base:
            _check(input_base, input_config, range_config, options)
        super().__init__(
            input_base=input_base,
            input_config=input_config,
            output_config=_hash_images(output_config),
            range_config=range_config,
            custom_config=exec_properties.pack(options),
        )


def _hash_images(config: example_gen_pb2.Output) -> example_gen_pb2.Output:
    if not config.split_config.splits or config.split_config.HasField("partition_feature_name"):
        return config
    named = example_gen_pb2.Output()
    named.CopyFrom(config)
    named.split_config.partition_feature_name = "image"
    return named


def _check(
    base: str, config: example_gen_pb2.Input, range_config: Any, options: IngestOptions
) -> None:
    if not tfx.dsl.io.fileio.isdir(base):
        raise ConfigError(
            "input_base",
            received=base,
            expected="a folder that exists",
            fix="Where only the workers can see it, pass check_input=False.",
        )
    if range_config is not None and not isinstance(range_config, range_config_pb2.RangeConfig):
        return  # Known only when the pipeline runs.
    processor = input_processor.FileBasedInputProcessor(base, config.splits, range_config)
    try:
        span, version = processor.resolve_span_and_version()
    except ValueError as error:
        patterns = [split.pattern for split in config.splits]
        raise ConfigError(
            "input_config", received=patterns, expected=f"a span under {base}", fix=f"{error}."
        ) from error
    patterns = {
        split.name: processor.get_pattern_for_span_version(split.pattern, span, version)
        for split in config.splits
    }
    sources = open_sources(base, patterns, options.source)
    if options.classes is None:
        class_tables.ClassTable(
            class_tables.merge_names([source.class_names() for source in sources.values()])
        )
