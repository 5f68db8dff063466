"""Temporary files by which one Beam pass hands its results to the next."""

import json
import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import tensorflow as tf

from tfx_feeder.common.errors import DataError
from tfx_feeder.common.tfrecord import RecordError, read_records


class Scratch:
    """Folder of temporary TFRecord files.

    Args:
        folder: Path that all workers can access.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def path(self, name: str) -> str:
        """Returns the prefix of the files of a name."""
        return os.path.join(self._folder, name)

    def write_json(self, values: beam.PCollection, name: str) -> None:
        """Writes values as JSON.

        Args:
            values: Values in JSON types.
            name: Name of the files.
        """
        _ = (
            values
            | f"ToJson[{name}]" >> beam.Map(lambda value: json.dumps(value).encode())
            | f"Write[{name}]" >> beam.io.WriteToTFRecord(self.path(name))
        )

    def write_counts(self, counts: beam.PCollection, name: str) -> None:
        """Writes the sums of counts.

        Args:
            counts: Pairs of a key and a number.
            name: Name of the files.
        """
        self.write_json(counts | f"Sum[{name}]" >> beam.CombinePerKey(sum), name)

    def read_counts(self, name: str) -> Counter[str]:
        """Reads what ``write_counts`` wrote, without zeros."""
        return Counter({key: count for key, count in self.read_json(name) if count})

    def read_json(self, name: str) -> list[Any]:
        """Reads what ``write_json`` wrote."""
        return [json.loads(record) for record in self.read_records(name)]

    def read_records(self, name: str) -> Iterator[bytes]:
        """Yields the records of a name.

        Raises:
            DataError: A record is damaged.
        """
        for path in sorted(tf.io.gfile.glob(f"{self.path(name)}-*")):
            with tf.io.gfile.GFile(path, "rb") as file:
                for record in read_records(file):
                    if isinstance(record, RecordError):
                        raise DataError(f"{path} cannot be read: {record.reason}.")
                    yield record

    def remove(self) -> None:
        """Removes the folder."""
        if tf.io.gfile.exists(self._folder):
            tf.io.gfile.rmtree(self._folder)
