"""What was left out and why: the list, the counts, and when there are too many."""

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
    "corrupt_image",
    "label_outside_set",
    "malformed_row",
    "missing_file",
    "no_class",
    "not_an_image",
    "truncated_archive",
    "unreadable_file",
    "unsupported_format",
]
# A text file beside the images is worth a line in the list, but it was never a record: it must
# not make a small folder fail.
IGNORED_REASONS: frozenset[str] = frozenset({"not_an_image"})


@dataclass(frozen=True, slots=True)
class Rejection:
    """One thing that did not become an example.

    Args:
        path: The file.
        reason: The word under which it is counted.
        cause: What exactly was wrong.
        index: Position of the record inside the file, from 0; None for a file that is one record.
        records: How many records it stands for.
    """

    path: str
    reason: Reason
    cause: str
    index: int | None = None
    records: int = 1

    def to_json(self) -> str:
        """Returns one line of ``rejected.jsonl``."""
        return json.dumps(asdict(self), ensure_ascii=False)


def merge_rejections(parts_prefix: str, target: str) -> dict[str, int]:
    """Joins the lists that the workers wrote into one, and counts.

    Args:
        parts_prefix: What the paths of the parts begin with; the parts are removed.
        target: Where the whole list goes; it is written even when nothing was rejected.

    Returns:
        Records by reason, the most frequent first.
    """
    counts: collections.Counter[str] = collections.Counter()
    with tf.io.gfile.GFile(target, "w") as whole:
        whole.write("")  # The file is made by the first write, not by opening it.
        for part in sorted(tf.io.gfile.glob(f"{parts_prefix}*")):
            with tf.io.gfile.GFile(part) as lines:
                for line in lines:
                    whole.write(line)
                    rejection = json.loads(line)
                    counts[rejection["reason"]] += rejection["records"]
            tf.io.gfile.remove(part)
    return dict(counts.most_common())


def check(counts: Mapping[str, int], accepted: int, limit: float, where: str) -> None:
    """Refuses a data set of which too much was rejected, or all.

    Args:
        counts: Rejected records by reason.
        accepted: Records that became examples.
        limit: Largest tolerated share of rejected records, 0 to 1.
        where: Where the list of rejections is; the message ends with it.

    Raises:
        DataError: The share is above the limit, or nothing is left.
    """
    rejected = sum(count for reason, count in counts.items() if reason not in IGNORED_REASONS)
    reasons = ", ".join(f"{reason} {count}" for reason, count in counts.items())
    if not accepted:
        raise DataError(f"No usable image. Left out: {reasons or 'nothing'}. The list: {where}")
    share = rejected / (rejected + accepted)
    if share > limit:
        raise DataError(
            f"{rejected} of {rejected + accepted} records were left out ({share:.1%}), more than "
            f"max_rejected_fraction={limit:g} allows: {reasons}. The list: {where}"
        )


def preserve_list(listed: str, artifact_uri: str) -> str:
    """Copies the list to where it outlives a failed execution, whose outputs are removed.

    Args:
        listed: The list in the artifact's folder.
        artifact_uri: That folder, ``<component>/examples/<execution>``.

    Returns:
        The path of the copy, ``<component>/rejected/<execution>.jsonl``.
    """
    outputs, execution = posixpath.split(artifact_uri.rstrip("/"))
    kept = posixpath.join(posixpath.dirname(outputs), "rejected", f"{execution}.jsonl")
    tf.io.gfile.makedirs(posixpath.dirname(kept))
    tf.io.gfile.copy(listed, kept, overwrite=True)
    return kept
