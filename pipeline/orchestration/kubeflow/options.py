"""Options of pipelines on Kubeflow Pipelines; this module does not require ``kfp``."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.pipeline.orchestration.compiled_pipeline import CompiledPipeline
from tfx_feeder.pipeline.orchestration.kubernetes.cluster import Cluster, check_shared_path
from tfx_feeder.pipeline.orchestration.run_options import check_no_password, check_run_option


@dataclass(frozen=True, slots=True)
class Kubeflow:
    """Options of a pipeline on Kubeflow Pipelines.

    Args:
        image: Container image with the environment and code of the pipeline.
        pvc: Name of a PersistentVolumeClaim for the root and for the pipelines that runs compile;
            empty if the root is on an object store and runs compile nothing.
        mount: Path at which the claim is mounted.
        secret: Name of a Secret whose keys ``store`` and ``password`` hold the address of ML
            Metadata; empty for the compiled connection.
        retries: Number of retries of a failed task.
        compile_options: Arguments of ``tfx-feeder compile`` that all runs share; each run then
            compiles the pipeline anew. With ``None``, all runs use the compiled pipeline at ``ir``.
        run_options: Default values, by name, of the options of ``tfx-feeder compile`` that a run
            can set; an empty string omits the option.
        retrain_options: Arguments of ``tfx-feeder retrain --decide``. A run follows the decision,
            and ends at once if there is no reason to retrain; ``None`` runs unconditionally.
        ir: Path of the compiled pipeline in the image.
        clusters: Clusters for distributed training, by id of the FeederTrainer.

    Raises:
        ConfigError: A value is out of range, or options contradict each other.
    """

    image: str
    pvc: str = ""
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
                expected="arguments, because runs have options or a decision to compile with",
            )
        if self.compile_options is not None and not self.pvc:
            raise ConfigError(
                "pvc",
                received=self.pvc,
                expected="a PersistentVolumeClaim, which holds the pipelines that runs compile",
            )
        for name in self.run_options:
            check_run_option(name)
        words = (*(self.compile_options or ()), *(self.retrain_options or ()))
        check_no_password(words, "Name a Secret with --secret, whose key password holds it.")

    @property
    def run_folder(self) -> str:
        """Folder for compiled pipelines and decisions of runs."""
        return f"{self.mount}/kubeflow"

    def check(self, compiled: CompiledPipeline) -> None:
        """Checks that a pipeline can run with these options.

        Raises:
            ConfigError: The pipeline has several exit handlers or lacks a node of ``clusters``, or
                a path is not shared by all pods.
        """
        if len(compiled.exit_handlers) > 1:
            raise ConfigError(
                "exit_handlers",
                received=compiled.exit_handlers,
                expected="at most one, which is all that Kubeflow supports",
            )
        check_shared_path("root", compiled.root, self.pvc, self.mount)
        for node, cluster in self.clusters.items():
            compiled.check_node(node)
            path = cluster.rendezvous_path
            check_shared_path("cluster rendezvous_path", path, self.pvc, self.mount)
