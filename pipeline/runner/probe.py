"""Choosing a strategy for the reference pipeline without training."""

# tensorflow_transform declares no exports.
# pyright: reportPrivateImportUsage=false

import contextlib
import dataclasses
import tempfile
import time
from pathlib import Path

import tensorflow_transform as tft

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.distribution.context import open_context
from tfx_feeder.components.feeder_trainer.distribution.fit import FitSpec, open_fit_context
from tfx_feeder.components.feeder_trainer.distribution.options import SingleDevice, Strategy
from tfx_feeder.components.feeder_trainer.feed.mixture import SplitFiles, all_paths, group_by_source
from tfx_feeder.components.feeder_trainer.model.builder import ModelContext
from tfx_feeder.components.feeder_trainer.model.user_module import UserCode
from tfx_feeder.components.feeder_trainer.schedules.parser import parse_schedule
from tfx_feeder.components.feeder_trainer.strategy_selection.decision import StrategyChoice
from tfx_feeder.components.feeder_trainer.strategy_selection.select import select
from tfx_feeder.pipeline.configs import SHORT_SCHEDULE, PipelineConfig
from tfx_feeder.pipeline.datasets import open_data_set
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.workspace import Workspace


def probe(
    *,
    data: str,
    root: Path,
    schedule: str | None,
    strategy: Strategy,
    examples: Path | None = None,
    transform_graph: Path | None = None,
    model_fn: str | None = None,
) -> StrategyChoice:
    """Probes what could change the choice of a strategy, and chooses.

    Args:
        data: As for a run.
        root: Folder of earlier runs.
        schedule: In a notation that ``parse_schedule`` reads; ``None``: that of a short run.
        strategy: ``Auto`` with what the training may take.
        examples: Folder of transformed examples; ``None``: the newest of the runs.
        transform_graph: Folder of the graph that made them; ``None``: the one beside them.
        model_fn: Importable path of the function that makes the model; ``None``: the pipeline's.

    Raises:
        ConfigError: There are no examples, or a setting cannot work.
        DataError: The examples cannot be used.
    """
    began = time.perf_counter()
    root = root.absolute()
    # Of the data only its name and classes count, and those of no span in particular.
    data_set = open_data_set(data, root / "data")
    span = data_set.spans[0] if data_set.spans else None
    config = PipelineConfig(
        data=data_set,
        root=root,
        span=span,
        schedule=parse_schedule(schedule) if schedule else SHORT_SCHEDULE,
    )
    if examples is None:
        examples, found = _newest(config.workspace)
        transform_graph = transform_graph or found
    job = _job(config, strategy, examples, transform_graph or _beside(examples), model_fn)
    alone = dataclasses.replace(job, strategy=SingleDevice())
    placement = open_context(alone.strategy, None)
    with (
        tempfile.TemporaryDirectory(prefix="tfx-feeder-") as logs,
        contextlib.closing(placement),
        open_fit_context(alone, placement) as ready,
    ):
        return select(
            job,
            ready,
            lambda: time.perf_counter() - began,
            log_dir=logs,
            # Where trainings of this pipeline keep theirs.
            probe_dir=str(config.workspace.artifacts / "FeederTrainer" / "probes"),
        ).choice


def _newest(workspace: Workspace) -> tuple[Path, Path]:
    """Returns the folders of the newest transformed examples, and of the graph that made them."""
    if workspace.metadata.is_file():
        execution = Lineage.open(workspace.metadata, workspace.pipeline).latest("Transform")
        if execution is not None:
            made = [execution.output(key) for key in ("transformed_examples", "transform_graph")]
            examples, graph = (artifact.path if artifact else Path() for artifact in made)
            if examples.is_dir() and graph.is_dir():
                return examples, graph
    raise ConfigError(
        "root",
        received=str(workspace.root),
        expected=f"the folder of a run on {workspace.pipeline}, with what its Transform made",
        fix="Run local_runner.py once, or name a folder with --examples.",
    )


def _beside(examples: Path) -> Path:
    """Returns the graph that the same execution of Transform made."""
    graph = examples.parent.parent / "transform_graph" / examples.name
    if not graph.is_dir():
        raise ConfigError(
            "transform graph",
            received=str(examples),
            expected=f"the graph that made these examples, at {graph}",
            fix="Name its folder with --transform-graph.",
        )
    return graph


def _job(
    config: PipelineConfig, strategy: Strategy, examples: Path, graph: Path, model_fn: str | None
) -> FitSpec:
    def splits(names: tuple[str, ...]) -> list[SplitFiles]:
        return [
            SplitFiles(name, None, sorted(map(str, (examples / f"Split-{name}").glob("*"))))
            for name in names
        ]

    feed = config.feed
    return FitSpec(
        code=UserCode(model_fn or config.model_fn),
        context=ModelContext(
            feature_spec=tft.TFTransformOutput(str(graph)).transformed_feature_spec(),
            feed=feed,
            custom_config=config.custom_config,
            transform_graph_path=str(graph),
        ),
        schedule=config.schedule,
        strategy=strategy,
        train_files=group_by_source(splits(feed.train_splits), feed.mix),
        eval_files=all_paths(splits(feed.eval_splits)),
        checkpoint_dir=str(config.workspace.artifacts / "FeederTrainer" / "checkpoints" / "probe"),
        loop=config.training,
    )
