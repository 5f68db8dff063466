"""Clusters of the embedding of a model, as slices that are shown by pictures."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import apache_beam as beam
import numpy as np
import tensorflow as tf
from sklearn.cluster import MiniBatchKMeans

from tfx_feeder.common.errors import DataError
from tfx_feeder.components.slice_gen.annotate import feature_values, parse
from tfx_feeder.components.slice_gen.embedding import Embedding
from tfx_feeder.components.slice_gen.encoders import ValueEncoder
from tfx_feeder.components.slice_gen.options import ClusterOptions
from tfx_feeder.components.slice_gen.passes import Sample, hash_of
from tfx_feeder.components.slice_gen.scratch import Scratch
from tfx_feeder.schemas.slices import Remark

COLUMN = "cluster"
_FEATURE = "tfx_feeder/cluster"
"""Feature by which one step of a pass hands the cluster to the next; it is not written."""
_SIDE = 48
"""Height and width of a thumbnail, in pixels."""
_BATCH = 256
_KEY_BYTES = 8

Read = Callable[[beam.Pipeline], beam.PCollection]
"""Function that reads serialized Examples."""


@dataclass(frozen=True, slots=True)
class Clusters:
    """Clusters of examples.

    Args:
        model: Folder of the model.
        signature: Signature that takes serialized Examples.
        centers: Centers in the embedding, ``[clusters, dimensions]``, of the largest cluster first;
            none if nothing was clustered.
        strips: PNG image with examples near the center, by number of the cluster.
        remarks: Reasons why nothing was clustered.
    """

    model: str = ""
    signature: str = ""
    centers: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    strips: Mapping[int, bytes] = field(default_factory=dict)
    remarks: tuple[Remark, ...] = ()

    @property
    def encoder(self) -> ValueEncoder:
        """Encoder of the column of clusters."""
        numbers = range(1, len(self.centers) + 1)
        return ValueEncoder(COLUMN, {n: str(n) for n in numbers}, feature=_FEATURE)

    def assign(self, examples: beam.PCollection) -> beam.PCollection:
        """Adds the cluster to each example, in the feature of the encoder.

        Args:
            examples: Serialized Examples.
        """
        return (
            examples
            | "BatchToAssign" >> beam.BatchElements(min_batch_size=_BATCH, max_batch_size=_BATCH)
            | "Assign" >> beam.ParDo(_Assign(self))
        )


def find_clusters(
    make_pipeline: Callable[[], beam.Pipeline],
    read: Read,
    examples: int,
    options: ClusterOptions,
    *,
    model: str,
    signature: str,
    image_feature: str | None,
    scratch: Scratch,
) -> Clusters:
    """Clusters a sample of the examples by k-means on the input of the last dense layer.

    Args:
        make_pipeline: Creates a Beam pipeline.
        read: Function that reads the examples.
        examples: Number of examples.
        options: Number of clusters and thumbnails.
        model: Folder of the model.
        signature: Signature that takes serialized Examples.
        image_feature: Feature with an encoded image, of which thumbnails are made.
        scratch: Temporary files.
    """
    try:
        Embedding(model, signature)
    except (DataError, OSError, ValueError, tf.errors.OpError) as error:
        return Clusters(remarks=(Remark(COLUMN, f"there are none: {error}"),))
    fraction = min(1.0, options.max_examples / max(examples, 1))
    with make_pipeline() as pipeline:
        _ = (
            read(pipeline)
            | "SampleToCluster" >> beam.ParDo(Sample(fraction))
            | "Batch" >> beam.BatchElements(min_batch_size=_BATCH, max_batch_size=_BATCH)
            | "Embed" >> beam.ParDo(_Embed(model, signature))
            | "WriteEmbedding" >> beam.io.WriteToTFRecord(scratch.path("embedding"))
        )
    hashes, vectors = _loaded(sorted(scratch.read_records("embedding")))
    if len(vectors) < 2 * options.count:
        reason = f"there are none: too few examples for {options.count} clusters"
        return Clusters(remarks=(Remark(COLUMN, reason, len(vectors)),))
    fitted = MiniBatchKMeans(options.count, random_state=0, n_init=3, batch_size=1024).fit(vectors)
    sizes = np.bincount(fitted.labels_, minlength=options.count)
    # Of equal examples, fewer clusters may be made than there should be.
    order = [n for n in np.argsort(-sizes, kind="stable") if sizes[n]]
    centers = fitted.cluster_centers_[order]
    strips: dict[int, bytes] = {}
    if image_feature and options.thumbnails:
        shown = _nearest(hashes, vectors, centers, options.thumbnails)
        strips = _strips(make_pipeline, read, shown, image_feature, scratch)
    return Clusters(model, signature, centers, strips)


def _loaded(records: Sequence[bytes]) -> tuple[list[int], np.ndarray]:
    rows = [np.frombuffer(record[_KEY_BYTES:], np.float32) for record in records]
    width = max(map(len, rows), default=0)
    good = [n for n, row in enumerate(rows) if len(row) == width and np.isfinite(row).all()]
    hashes = [int.from_bytes(records[n][:_KEY_BYTES], "big") for n in good]
    return hashes, np.stack([rows[n] for n in good]) if good else np.zeros((0, width))


def _distances(vectors: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """Returns squared distances up to a constant of each vector, ``[examples, clusters]``."""
    return (centers**2).sum(axis=1) - 2 * vectors @ centers.T


def _nearest(
    hashes: Sequence[int], vectors: np.ndarray, centers: np.ndarray, number: int
) -> dict[int, tuple[int, int]]:
    """Returns cluster and rank of the examples near the centers, by hash."""
    distances = _distances(vectors, centers)
    own = distances.argmin(axis=1)
    gaps = distances + (vectors**2).sum(axis=1, keepdims=True)
    shown = {}
    for cluster in range(len(centers)):
        inside = np.flatnonzero(own == cluster)
        for rank, row in enumerate(inside[np.argsort(gaps[inside, cluster])][:number]):
            shown.setdefault(hashes[row], (cluster + 1, rank))
    return shown


def _strips(
    make_pipeline: Callable[[], beam.Pipeline],
    read: Read,
    shown: Mapping[int, tuple[int, int]],
    image_feature: str,
    scratch: Scratch,
) -> dict[int, bytes]:
    with make_pipeline() as pipeline:
        _ = (
            read(pipeline)
            | "Show" >> beam.ParDo(_Show(shown, image_feature))
            | "WriteThumbnails" >> beam.io.WriteToTFRecord(scratch.path("thumbnails"))
        )
    rows: dict[int, dict[int, np.ndarray]] = {}
    for record in scratch.read_records("thumbnails"):
        cluster, rank = record[0] * 256 + record[1], record[2]
        pixels = np.frombuffer(record[3:], np.uint8).reshape(_SIDE, _SIDE, 3)
        rows.setdefault(cluster, {})[rank] = pixels
    return {
        cluster: tf.io.encode_png(np.hstack([of_cluster[n] for n in sorted(of_cluster)])).numpy()
        for cluster, of_cluster in sorted(rows.items())
    }


class _Embed(beam.DoFn):
    def __init__(self, model: str, signature: str) -> None:
        self._model = model
        self._signature = signature

    def setup(self) -> None:
        self._embed = Embedding(self._model, self._signature)

    def process(self, batch: list[bytes]) -> Iterator[bytes]:
        for serialized, vector in zip(batch, self._embed(batch), strict=True):
            yield hash_of(serialized).to_bytes(_KEY_BYTES, "big") + vector.tobytes()


class _Assign(beam.DoFn):
    def __init__(self, clusters: Clusters) -> None:
        self._clusters = clusters

    def setup(self) -> None:
        self._embed = Embedding(self._clusters.model, self._clusters.signature)

    def process(self, batch: list[bytes]) -> Iterator[bytes]:
        vectors, centers = self._embed(batch), self._clusters.centers
        for serialized, vector in zip(batch, vectors, strict=True):
            example = parse(serialized)
            if vector.shape == centers.shape[1:] and np.isfinite(vector).all():
                nearest = int(_distances(vector[None], centers).argmin())
                example.features.feature[_FEATURE].int64_list.value.append(nearest + 1)
            yield example.SerializeToString(deterministic=True)


class _Show(beam.DoFn):
    def __init__(self, shown: Mapping[int, tuple[int, int]], image_feature: str) -> None:
        self._shown = shown
        self._image_feature = image_feature

    def process(self, serialized: bytes) -> Iterator[bytes]:
        found = self._shown.get(hash_of(serialized))
        if found is None:
            return
        images = feature_values(parse(serialized).features.feature, self._image_feature)
        try:
            pixels = tf.io.decode_image(images[0], channels=3, expand_animations=False)
            small = tf.image.resize_with_pad(pixels, _SIDE, _SIDE, "nearest")
        except (tf.errors.OpError, LookupError, ValueError):
            return
        cluster, rank = found
        yield bytes([*divmod(cluster, 256), rank]) + tf.cast(small, tf.uint8).numpy().tobytes()
