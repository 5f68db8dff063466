"""ImageExampleGen: component definition and build-time checks."""

import os
from collections.abc import Sequence
from typing import Any

from tfx.components.example_gen import component, utils
from tfx.dsl.components.base import executor_spec
from tfx.proto import example_gen_pb2, range_config_pb2

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.common.validation import is_text
from tfx_feeder.components.image_example_gen import driver, exec_properties, executor
from tfx_feeder.components.image_example_gen.options import MAX_PIXELS, IngestOptions
from tfx_feeder.components.image_example_gen.sources import class_table, open_sources
from tfx_feeder.components.image_example_gen.storage import is_local


class ImageExampleGen(component.FileBasedExampleGen):
    """Converts labeled images to Examples: class folders, CSV manifests, arrays, IDX, CIFAR-10.

    Component outputs:

    - ``examples``: splits of gzipped TFRecords with the features ``image`` (PNG or JPEG bytes),
      ``label``, ``height``, ``width`` (int64) and the additional columns of the source. The
      artifact also contains ``classes.json`` and ``rejected.jsonl``; its custom properties are
      ``span``, ``version``, ``input_fingerprint``, ``source``, ``num_classes``,
      ``num_examples_<split>`` and ``rejected_<reason>``.

    Args:
        input_base: Local or remote folder.
        source: ``auto``, ``class_folders``, ``manifest``, ``arrays``, ``idx`` or ``cifar10``.
        input_config: Input splits and their patterns, optionally with ``{SPAN}`` and
            ``{VERSION}``; by default, all files form one split.
        output_config: Output splits; by default, train and eval in the ratio 2:1. Examples are
            partitioned by the hash of the image unless ``partition_feature_name`` is set, so that
            copies of an image fall into the same split.
        range_config: Span to read; by default, the latest.
        classes: Class names in index order; by default, inferred from the data.
        max_rejected_fraction: Maximum fraction of rejected records, 0 to 1.
        max_pixels: Limit of height times width of an image in a file of its own.
        allow_outside: If True, symbolic links and the paths in a manifest may lead out of
            ``input_base``.
        check_input: If True, a local ``input_base`` is checked when the component is created; set
            False if only the workers can access it.

    Raises:
        ConfigError: An argument is out of range, or the folder or span does not exist.
        DataError: The folder has no usable source, or fewer than two classes.
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
        max_pixels: int = MAX_PIXELS,
        allow_outside: bool = False,
        check_input: bool = True,
    ) -> None:
        options = IngestOptions(
            source=source,
            classes=tuple(classes) if classes is not None else None,
            max_rejected_fraction=max_rejected_fraction,
            max_pixels=max_pixels,
            allow_outside=allow_outside,
        )
        input_config = input_config or utils.make_default_input_config()
        output_config = output_config or utils.make_default_output_config(input_config)
        if not is_text(input_base):
            raise ConfigError(
                "input_base",
                received=input_base,
                expected="a path in UTF-8, because ML Metadata stores it",
                fix="Rename the folder. Names below it may consist of any bytes.",
            )
        if check_input and is_local(input_base):
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
    if not os.path.isdir(base):
        raise ConfigError(
            "input_base",
            received=base,
            expected="a folder that exists",
            fix="If only the workers can access it, pass check_input=False.",
        )
    if range_config is not None and not isinstance(range_config, range_config_pb2.RangeConfig):
        return  # Known only at run time.
    try:
        processor = driver.create_input_processor(base, config.splits, range_config)
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
    sources = open_sources(base, patterns, options.source, allow_outside=options.allow_outside)
    if options.classes is None:
        class_table(sources)
