"""Driver of ImageExampleGen: spans of folders with any name, and a fingerprint of every image."""

import os
import re
from collections.abc import Iterable, Iterator
from typing import Any

from tfx.components.example_gen import driver, input_processor, utils
from tfx.orchestration import data_types
from tfx.proto import example_gen_pb2, range_config_pb2
from tfx.types import standard_component_specs as specs

from tfx_feeder.common.errors import DataError
from tfx_feeder.components.image_example_gen import files
from tfx_feeder.components.image_example_gen.exec_properties import input_patterns, unpack
from tfx_feeder.components.image_example_gen.sources import open_sources
from tfx_feeder.components.image_example_gen.storage import is_local

_SPEC = re.compile(r"\{(SPAN|VERSION)(?::(\d+))?\}|\{(YYYY|MM|DD)\}")
_WILDCARD = re.compile(r"(\*|\?|\[[^\]]+\])")
_DIGITS = {"YYYY": 4, "MM": 2, "DD": 2}
_NO_SPAN: tuple[int, int | None] = (0, None)


class FolderInputProcessor(input_processor.FileBasedInputProcessor):
    """Input processor for local folders.

    The stock one takes the path of the folder for a part of the pattern, so that brackets in it
    match nothing and a star reads its siblings; it finds no zero-padded folder of ``{SPAN}``, and
    fails on names that are not UTF-8.
    """

    def __init__(
        self,
        base: str,
        splits: Iterable[example_gen_pb2.Input.Split],
        range_config: range_config_pb2.RangeConfig | None,
    ) -> None:
        super().__init__(base, splits, range_config)
        self._base = base
        self._patterns = {split.name: split.pattern for split in splits}
        self._requested: int | None = None
        if range_config is not None and range_config.HasField("static_range"):
            self._requested = range_config.static_range.start_span_number
        self._filled: dict[str, str] = {}

    def resolve_span_and_version(self) -> tuple[int, int | None]:
        """Returns the requested or latest span, and its latest version.

        Raises:
            ValueError: A split has no such span, or the splits have different ones.
        """
        found = {name: self._newest(name, pattern) for name, pattern in self._patterns.items()}
        if len(set(found.values())) > 1:
            raise ValueError(f"The splits have different spans or versions: {found}")
        return next(iter(found.values()), _NO_SPAN)

    def get_pattern_for_span_version(self, pattern: str, span: int, version: int | None) -> str:
        """Returns the pattern with span and version as they are written in the folder's name."""
        return self._filled.get(pattern, pattern)

    def get_input_fingerprint(self, span: int, version: int | None) -> str:
        """Returns a fingerprint of the matched files and folders, by split, as in stock."""
        return "\n".join(self._fingerprint_of(name) for name in self._patterns)

    def _newest(self, name: str, pattern: str) -> tuple[int, int | None]:
        if not _SPEC.search(pattern):
            return _NO_SPAN
        found = {
            (span, version): filled
            for span, version, filled in self._candidates(pattern)
            if self._requested in (None, span)
        }
        if not found:
            wanted = "" if self._requested is None else f" of span {self._requested}"
            raise ValueError(f"Nothing{wanted} matches the pattern {pattern!r} of split {name}")
        newest = max(found, key=lambda pair: (pair[0], pair[1] or 0))
        self._filled[pattern] = found[newest]
        return newest

    def _candidates(self, pattern: str) -> Iterator[tuple[int, int | None, str]]:
        """Yields span, version and the filled pattern of each match."""
        regex = re.compile(_as_regex(pattern))
        try:
            location = self._locate(_SPEC.sub("*", pattern))
        except DataError:
            return
        seen: dict[tuple[int, int | None], str] = {}
        for path in (*location.files, *location.folders):
            match = regex.match(os.path.relpath(path, self._base))
            if match is None:
                continue
            texts = match.groupdict()
            filled = _fill(pattern, texts)
            version = int(texts["VERSION"]) if "VERSION" in texts else None
            if "SPAN" in texts:
                span = int(texts["SPAN"])
            else:
                try:
                    span = utils.date_to_span_number(*(int(texts[part]) for part in _DIGITS))
                except ValueError:
                    continue
            other = seen.setdefault((span, version), filled)
            if other != filled:
                raise ValueError(f"{other!r} and {filled!r} are the same span: rename one")
            yield span, version, filled

    def _fingerprint_of(self, name: str) -> str:
        pattern = self._patterns[name]
        location = self._locate(self._filled.get(pattern, pattern))
        status = [os.stat(path) for path in (*location.files, *location.folders)]
        times = [int(item.st_mtime) for item in status]
        xor = 0
        for time in times:
            xor ^= time
        return (
            f"split:{name},num_files:{len(status)},total_bytes:{sum(s.st_size for s in status)},"
            f"xor_checksum:{xor},sum_checksum:{sum(times)}"
        )

    def _locate(self, pattern: str) -> files.Match:
        # Whether what is found may be read is decided when the source is opened.
        return files.locate(self._base, pattern, allow_outside=True)


def _fill(pattern: str, texts: dict[str, str]) -> str:
    return _SPEC.sub(lambda spec: texts[spec[1] or spec[3]], pattern)


def _as_regex(pattern: str) -> str:
    """Returns a regular expression of a glob pattern with a group for each placeholder."""
    parts, position = [], 0
    for spec in _SPEC.finditer(pattern):
        parts.append(_glob_as_regex(pattern[position : spec.start()]))
        digits = spec[2] or _DIGITS.get(spec[3], "1,")
        parts.append(rf"(?P<{spec[1] or spec[3]}>[0-9]{{{digits}}})")
        position = spec.end()
    return "".join(parts) + _glob_as_regex(pattern[position:]) + r"\Z"


def _glob_as_regex(text: str) -> str:
    regex = ""
    for piece in _WILDCARD.split(text):
        if piece in ("*", "?"):
            regex += "[^/]*" if piece == "*" else "[^/]"
        elif _WILDCARD.fullmatch(piece):
            regex += f"[^{piece[2:]}" if piece[1] == "!" else piece
        else:
            regex += re.escape(piece)
    return regex


def create_input_processor(
    base: str,
    splits: Iterable[example_gen_pb2.Input.Split],
    range_config: range_config_pb2.RangeConfig | None,
) -> input_processor.FileBasedInputProcessor:
    """Returns the processor that resolves spans and versions of a local or remote folder.

    Args:
        base: Local or remote folder.
        splits: Input splits with their patterns.
        range_config: Span to read; by default, the latest.

    Raises:
        ValueError: A pattern or the range is invalid.
    """
    kind = FolderInputProcessor if is_local(base) else input_processor.FileBasedInputProcessor
    return kind(base, splits, range_config)


class Driver(driver.FileBasedDriver):
    """Resolves span and version like the stock driver, and fingerprints the files behind a pattern.

    The stock fingerprint sums the modification times of the paths that the pattern itself matches.
    It misses changes of images inside a class folder or listed in a manifest, and images that move
    from one class to another; the pipeline would then be served from a stale cache.
    """

    def get_input_processor(
        self,
        splits: Iterable[example_gen_pb2.Input.Split],
        range_config: range_config_pb2.RangeConfig | None = None,
        input_base_uri: str | None = None,
    ) -> input_processor.InputProcessor:
        """Returns the processor that resolves spans and versions."""
        return create_input_processor(input_base_uri or "", splits, range_config)

    def resolve_exec_properties(
        self,
        exec_properties: dict[str, Any],
        pipeline_info: data_types.PipelineInfo,
        component_info: data_types.ComponentInfo,
    ) -> dict[str, Any]:
        """Adds span, version and fingerprint to the execution properties."""
        resolved = super().resolve_exec_properties(exec_properties, pipeline_info, component_info)
        base, options = resolved[specs.INPUT_BASE_KEY], unpack(resolved)
        sources = open_sources(
            base, input_patterns(resolved), options.source, allow_outside=options.allow_outside
        )
        lines = [resolved[utils.FINGERPRINT_PROPERTY_NAME]]
        lines += [
            f"split:{split},images:{files.fingerprint(base, source.files())}"
            for split, source in sources.items()
        ]
        resolved[utils.FINGERPRINT_PROPERTY_NAME] = "\n".join(lines)
        return resolved
