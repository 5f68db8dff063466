"""Rejected records: list, counts and limit."""

import collections
import json
import posixpath
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

import tensorflow as tf

from tfx_feeder.common.errors import DataError

FILE_NAME = "rejected.jsonl"
Reason = Literal[
    "corrupt_archive",
    "corrupt_image",
    "label_outside_set",
    "link",
    "malformed_row",
    "missing_file",
    "no_class",
    "not_a_file",
    "not_an_image",
    "outside_folder",
    "passed_over",
    "too_large",
    "truncated_archive",
    "unreadable_file",
    "unsupported_format",
]
# A text file beside the images is listed, but it is not a record: it must not make the ingestion
# of a small folder fail. Nor does a link whose target is read where it lies.
IGNORED_REASONS: frozenset[str] = frozenset({"link", "not_a_file", "not_an_image", "passed_over"})


@dataclass(frozen=True, slots=True)
class Rejection:
    """Rejected file or record.

    Args:
        path: Path of the file.
        reason: Category under which the rejection is counted.
        cause: Detailed cause.
        index: Position of the record in the file, from 0; None for a file of one record.
        records: Number of rejected records.
    """

    path: str
    reason: Reason
    cause: str
    index: int | None = None
    records: int = 1

    def to_json(self) -> str:
        """Returns one line of ``rejected.jsonl``.

        Bytes of a path that are not UTF-8 are written as the surrogates that Python reads back.
        """
        line = json.dumps(asdict(self), ensure_ascii=False)
        return line.encode("utf-8", "backslashreplace").decode()


def merge_rejections(parts_prefix: str, target: str) -> dict[str, int]:
    """Merges the rejection lists of the workers and counts the records.

    Args:
        parts_prefix: Path prefix of the lists, which are removed.
        target: Path of the merged list; written even if nothing was rejected.

    Returns:
        Number of records by reason, the most frequent first.
    """
    counts: collections.Counter[str] = collections.Counter()
    with tf.io.gfile.GFile(target, "w") as whole:
        whole.write("")  # The file is created by the first write, not when it is opened.
        for part in sorted(tf.io.gfile.glob(f"{parts_prefix}*")):
            with tf.io.gfile.GFile(part) as lines:
                for line in lines:
                    whole.write(line)
                    rejection = json.loads(line)
                    counts[rejection["reason"]] += rejection["records"]
            tf.io.gfile.remove(part)
    return dict(counts.most_common())


def check(counts: Mapping[str, int], accepted: int, limit: float, where: str) -> None:
    """Checks that a data set is usable after rejections.

    Args:
        counts: Rejected records by reason.
        accepted: Records that became examples.
        limit: Maximum fraction of rejected records, 0 to 1.
        where: Path of the rejection list, for the error message.

    Raises:
        DataError: The fraction exceeds the limit, or no record was accepted.
    """
    rejected = sum(count for reason, count in counts.items() if reason not in IGNORED_REASONS)
    reasons = ", ".join(f"{reason} {count}" for reason, count in counts.items())
    if not accepted:
        raise DataError(f"No usable image. Rejected: {reasons or 'nothing'}. See {where}")
    fraction = rejected / (rejected + accepted)
    if fraction > limit:
        raise DataError(
            f"{rejected} of {rejected + accepted} records were rejected ({fraction:.1%}), more "
            f"than max_rejected_fraction={limit:g} allows: {reasons}. See {where}"
        )


def preserve_list(listed: str, artifact_uri: str) -> str:
    """Copies the list out of the artifact, which TFX removes after a failed execution.

    Args:
        listed: Path of the list in the artifact.
        artifact_uri: Folder of the artifact, ``<component>/examples/<execution>``.

    Returns:
        Path of the copy, ``<component>/rejected/<execution>.jsonl``.
    """
    outputs, execution = posixpath.split(artifact_uri.rstrip("/"))
    kept = posixpath.join(posixpath.dirname(outputs), "rejected", f"{execution}.jsonl")
    tf.io.gfile.makedirs(posixpath.dirname(kept))
    tf.io.gfile.copy(listed, kept, overwrite=True)
    return kept
