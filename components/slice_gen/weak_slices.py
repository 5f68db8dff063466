"""Measurement of the examples in Beam, and search for slices in which a model is weak."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf

from tfx_feeder.common.errors import DataError
from tfx_feeder.components.slice_gen.code_table import CodeTable
from tfx_feeder.components.slice_gen.encoders import IntervalEncoder, interval_encoder
from tfx_feeder.components.slice_gen.image_properties import PROPERTIES
from tfx_feeder.components.slice_gen.model_loss import ModelLoss
from tfx_feeder.components.slice_gen.options import LossOptions, SliceGenOptions
from tfx_feeder.components.slice_gen.passes import COUNTS, Measure, MeasurementPlan, read
from tfx_feeder.components.slice_gen.plan import SlicePlan, with_kind
from tfx_feeder.components.slice_gen.propose import Proposals, propose
from tfx_feeder.components.slice_gen.scratch import Scratch
from tfx_feeder.schemas.slices import Remark
from tfx_feeder.schemas.statistics import SplitStatistics

_QUANTILES = 101
_BATCH = 256


@dataclass(frozen=True, slots=True)
class WeakSlices:
    """Outcome of the measurement.

    Args:
        proposals: Slices in which the model is weak.
        properties: Encoders of the properties of images by name.
        remarks: Examples and properties that were left out.
    """

    proposals: Proposals
    properties: Mapping[str, IntervalEncoder]
    remarks: tuple[Remark, ...]


class WeakSliceFinder:
    """Measures images and losses, makes the encoders of properties, and searches.

    Args:
        make_pipeline: Creates a Beam pipeline.
        folders: Folders of TFRecord files of the examples.
        statistics: Statistics of the examples.
        model: Folder of the model whose weak slices are proposed, if any.
        options: Declared slices and search.
        plan: Columns and crosses.
        scratch: Temporary files.
    """

    def __init__(
        self,
        make_pipeline: Callable[[], beam.Pipeline],
        *,
        folders: tuple[str, ...],
        statistics: SplitStatistics,
        model: str | None,
        options: SliceGenOptions,
        plan: SlicePlan,
        scratch: Scratch,
    ) -> None:
        self._make_pipeline = make_pipeline
        self._folders = folders
        self._statistics = statistics
        self._model = model
        self._options = options
        self._plan = plan
        self._scratch = scratch
        self._remarks: list[Remark] = []

    def find(self) -> WeakSlices:
        """Reads the examples, unless neither images nor losses have to be measured."""
        loss = self._usable_loss()
        searched = loss is not None
        with_images = bool(self._plan.properties) and (searched or self._plan.declared_properties)
        table = self._measured(loss, with_images) if searched or with_images else None
        if table is None:
            return WeakSlices(Proposals({}), {}, tuple(self._remarks))
        properties = self._property_encoders(table) if with_images else {}
        proposals = self._proposals(table, properties, loss) if loss else Proposals({})
        return WeakSlices(
            proposals,
            {encoder.name: encoder for encoder in properties.values()},
            (*self._remarks, *proposals.remarks),
        )

    def _proposals(
        self, table: CodeTable, properties: Mapping[int, IntervalEncoder], loss: LossOptions
    ) -> Proposals:
        columns = self._options.columns
        return propose(
            table,
            self._plan.columns,
            {
                position: encoder
                for position, encoder in properties.items()
                if columns is None or encoder.name in columns
            },
            self._options,
            kind=loss.kind,
            model=self._model or "",
        )

    def _usable_loss(self) -> LossOptions | None:
        if self._model is None or self._options.loss is None:
            return None
        loss = with_kind(self._options.loss, self._statistics)
        try:
            ModelLoss(self._model, loss)
        except (DataError, OSError, ValueError, tf.errors.OpError) as error:
            self._remarks.append(Remark("model", f"no slices are proposed: {error}"))
            return None
        return loss

    def _measured(self, loss: LossOptions | None, with_images: bool) -> CodeTable | None:
        measurements = MeasurementPlan(
            encoders=self._plan.encoders,
            columns=self._plan.columns if loss else (),
            image_feature=self._options.image_feature if with_images else None,
            model=self._model if loss else None,
            loss=loss,
            fraction=min(1.0, self._options.max_searched / max(self._statistics.examples, 1)),
        )
        size = loss.batch_size if loss else _BATCH
        with self._make_pipeline() as pipeline:
            tables: Any = (
                read(pipeline, self._folders)
                | "Batch" >> beam.BatchElements(min_batch_size=size, max_batch_size=size)
                | "Measure" >> beam.ParDo(Measure(measurements)).with_outputs(COUNTS, main="tables")
            )
            _ = tables["tables"] | "WriteTables" >> beam.io.WriteToTFRecord(
                self._scratch.path("tables")
            )
            self._scratch.write_counts(tables[COUNTS], "reasons")
        for reason, count in sorted(self._scratch.read_counts("reasons").items()):
            self._remarks.append(Remark("loss", reason, count))
        return CodeTable.load(self._scratch.read_records("tables"))

    def _property_encoders(self, table: CodeTable) -> dict[int, IntervalEncoder]:
        """Returns the encoders of properties by position; properties without variety have none."""
        encoders = {}
        for name in self._plan.properties:
            position = PROPERTIES.index(name)
            if name in self._options.boundaries:
                encoders[position] = IntervalEncoder(name, self._options.boundaries[name])
                continue
            values = table.properties[:, position]
            values = values[np.isfinite(values)]
            if not len(values):
                continue
            quantiles = np.quantile(values, np.linspace(0, 1, _QUANTILES)).tolist()
            if encoder := interval_encoder(name, quantiles, self._options.intervals):
                encoders[position] = encoder
        return encoders
