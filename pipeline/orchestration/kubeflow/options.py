"""Where and how a pipeline runs on Kubeflow Pipelines; nothing here needs ``kfp``."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.pipeline.orchestration.compiled_pipeline import CompiledPipeline
from tfx_feeder.pipeline.orchestration.kubernetes.cluster import Cluster


@dataclass(frozen=True, slots=True)
class Kubeflow:
    """Where and how the nodes run.

    Args:
        image: Container image with the pipeline's environment and code.
        claim: Name of a PersistentVolumeClaim for the pipeline's root, and for what runs compile;
            empty: the root is on an object store, and nothing is compiled.
        mount: Where the claim is mounted.
        secret: Name of a Secret whose keys ``store`` and ``password`` say where ML Metadata is;
            empty: what the pipeline was compiled with.
        retries: How often a failed task is run again.
        compile_options: Arguments of ``tfx-feeder compile`` that are the same for all runs; each
            run then compiles the pipeline anew. ``None``: all run what lies at ``ir``.
        run_options: Options of ``tfx-feeder compile`` that a run may set, each with its value
            where it does not; an empty text leaves the option out.
        retrain_options: Arguments of ``tfx-feeder retrain --decide``: a run trains on what was
            decided, and ends at once where there is no reason to. ``None``: it needs none.
        ir: The compiled pipeline inside the image.
        clusters: Machines that train together, by the id of their FeederTrainer.

    Raises:
        ConfigError: The options do not fit each other.
    """

    image: str
    claim: str = ""
    mount: str = "/data"
    secret: str = ""
    retries: int = 2
    compile_options: tuple[str, ...] | None = None
    run_options: Mapping[str, str] = field(default_factory=dict)
    retrain_options: tuple[str, ...] | None = None
    ir: str = "/app/pipeline.json"
    clusters: Mapping[str, Cluster] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.image:
            raise ConfigError("image", received=self.image, expected="the name of an image")
        if self.retries < 0:
            raise ConfigError("retries", received=self.retries, expected="0 or more")
        if self.compile_options is None and (self.run_options or self.retrain_options is not None):
            raise ConfigError(
                "compile_options",
                received=None,
                expected="what each run compiles, where it has options or a decision",
            )
        if self.compile_options is not None and not self.claim:
            raise ConfigError(
                "claim",
                received=self.claim,
                expected="a claim, on which the tasks find what their run has compiled",
            )
        for name in self.run_options:
            if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
                raise ConfigError(
                    "run_options", received=name, expected="names such as span or time_to_train"
                )

    @property
    def run_folder(self) -> str:
        """Folder of what runs compile and decide."""
        return f"{self.mount}/kubeflow"

    def check(self, file: CompiledPipeline) -> None:
        """Sees that a pipeline can run so.

        Raises:
            ConfigError: It cannot.
        """
        if len(file.exit_handlers) > 1:
            raise ConfigError(
                "exit_handlers",
                received=file.exit_handlers,
                expected="one at most: Kubeflow knows no more",
            )
        file.require_shared_root(self.claim, self.mount)
        for node, cluster in self.clusters.items():
            file.require(node)
            if not (self.claim and Path(cluster.job).is_relative_to(self.mount)):
                raise ConfigError(
                    "cluster job",
                    received=cluster.job,
                    expected=f"a path below {self.mount}, where a claim is",
                )
