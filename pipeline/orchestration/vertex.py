"""Compiles pipelines for Vertex AI Pipelines, which runs TFX components natively."""

# TFX declares no exports in its public modules.
# pyright: reportPrivateImportUsage=false

import dataclasses
import re
import shutil
from pathlib import Path

from tfx import v1 as tfx

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.common.files import atomic_path
from tfx_feeder.pipeline.configs import PipelineConfig
from tfx_feeder.pipeline.pipeline import create_pipeline


def write_spec(config: PipelineConfig, root: str, image: str, path: Path) -> list[Path]:
    """Compiles the reference pipeline for Vertex AI.

    Args:
        config: Settings of the pipeline.
        root: Folder on Cloud Storage, ``gs://BUCKET/FOLDER``, that replaces ``config.root``.
        image: Container image with the environment and code of the pipeline.
        path: JSON file to write.

    Returns:
        Folders below ``config.root`` that have to be copied to ``root`` before the first run.

    Raises:
        ConfigError: The root is not on Cloud Storage, or Vertex AI cannot run the pipeline.
    """
    if not re.fullmatch(r"gs://[^/]+(/.+)?", root):
        raise ConfigError("vertex_root", received=root, expected="gs://BUCKET/FOLDER")
    if config.plan.earlier:
        raise ConfigError(
            "decision",
            received=f"spans {', '.join(str(part.span) for part in config.plan.earlier)} as well",
            expected="a single span: on Vertex AI, an input comes from one node",
        )
    files = [config.data.folder] if config.data.folder.is_relative_to(config.root) else []
    if config.data.schema:
        schema = config.root / "schemas" / config.name
        shutil.copytree(config.data.schema, schema, dirs_exist_ok=True)
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, schema=schema))
        files.append(schema)
    pipeline = create_pipeline(config, root=root, stock_resolvers=True)
    # Vertex AI allows no underscores in names.
    pipeline.pipeline_info.pipeline_name = config.name.replace("_", "-")
    write_pipeline(pipeline, image, path)
    return files


def write_pipeline(pipeline: tfx.dsl.Pipeline, image: str, path: Path) -> None:
    """Compiles any TFX pipeline for Vertex AI.

    Args:
        pipeline: Pipeline with its root on Cloud Storage and only TFX's own resolver strategies.
        image: Container image with the environment and code of the pipeline.
        path: JSON file to write.
    """
    runner = tfx.orchestration.experimental
    settings = runner.KubeflowV2DagRunnerConfig(default_image=image, use_pipeline_spec_2_1=True)
    with atomic_path(path) as partial:
        runner.KubeflowV2DagRunner(settings, str(partial.parent), partial.name).run(pipeline)
