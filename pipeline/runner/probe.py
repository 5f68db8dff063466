"""Strategy selection for the reference pipeline without training."""

# tensorflow_transform declares no exports.
# pyright: reportPrivateImportUsage=false

import dataclasses
import time
from pathlib import Path

import tensorflow_transform as tft

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.common.temporary import temporary_folder
from tfx_feeder.components.feeder_trainer.distribution.devices import reserve_gpus
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
    """Profiles the strategies that could change the selection, and returns the selection.

    Args:
        data: Name of a built-in data set, or path of a folder.
        root: Root folder of earlier runs.
        schedule: Schedule in a notation of ``parse_schedule``; ``None`` for the short one.
        strategy: ``Auto`` with the time and cost budget.
        examples: Folder of transformed examples; ``None`` for the newest of the runs.
        transform_graph: Folder of the transform graph of the examples; ``None`` for the graph from
            the same execution.
        model_fn: Importable path of the model function; ``None`` for that of the pipeline.

    Raises:
        ConfigError: There are no examples, or a setting is invalid.
        DataError: The examples are invalid.
    """
    start = time.perf_counter()
    root = root.absolute()
    # Only the name and the classes of the data set matter, so any span will do.
    data_set = open_data_set(data, root / "data")
    span = data_set.spans[0] if data_set.spans else None
    config = PipelineConfig(
        data=data_set,
        root=root,
        span=span,
        schedule=parse_schedule(schedule) if schedule else SHORT_SCHEDULE,
    )
    if examples is None:
        examples, newest_graph = _newest_examples(config.workspace)
        transform_graph = transform_graph or newest_graph
    spec = _fit_spec(config, strategy, examples, transform_graph or _graph_of(examples), model_fn)
    in_process = reserve_gpus(strategy)
    single_device = dataclasses.replace(spec, strategy=SingleDevice())
    with (
        temporary_folder() as logs,
        open_fit_context(single_device) as context,
    ):
        return select(
            spec,
            context,
            lambda: time.perf_counter() - start,
            log_dir=logs,
            # Trainings of this pipeline cache their profiles in the same folder.
            profile_dir=str(config.workspace.artifacts / "FeederTrainer" / "probes"),
            in_process=in_process,
        ).choice


def _newest_examples(workspace: Workspace) -> tuple[Path, Path]:
    """Returns the folders of the newest transformed examples and of their transform graph."""
    if workspace.metadata.is_file():
        execution = Lineage.open(workspace.metadata, workspace.pipeline).latest("Transform")
        if execution is not None:
            outputs = map(execution.output, ("transformed_examples", "transform_graph"))
            examples, graph = (artifact.path if artifact else Path() for artifact in outputs)
            if examples.is_dir() and graph.is_dir():
                return examples, graph
    raise ConfigError(
        "root",
        received=str(workspace.root),
        expected=f"the root folder of a run on {workspace.pipeline} with outputs of Transform",
        fix="Run local_runner.py once, or pass a folder with --examples.",
    )


def _graph_of(examples: Path) -> Path:
    """Returns the folder of the transform graph from the same execution as the examples."""
    graph = examples.parent.parent / "transform_graph" / examples.name
    if not graph.is_dir():
        raise ConfigError(
            "transform graph",
            received=str(examples),
            expected=f"the transform graph of these examples at {graph}",
            fix="Pass its folder with --transform-graph.",
        )
    return graph


def _fit_spec(
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
        training=config.training,
    )
