"""The file of a compiled pipeline, as orchestrators read it: JSON, without TFX.

It holds TFX's own intermediate representation, which names every node with its inputs, executor and
properties, and beside it what orchestrators need and TFX has no place for.
"""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.distribution.options import Strategy
from tfx_feeder.pipeline.orchestration.resources import Resources, default_resources

FORMAT = "tfx_feeder.pipeline"
VERSION = 1

_TRAINER = "tfx_feeder.components.feeder_trainer.component.FeederTrainer"


class InvalidNodeError(ConfigError):
    """A node cannot be run as it was asked for; its executor was not reached."""


@dataclass(frozen=True, slots=True)
class CompiledPipeline:
    """A compiled pipeline.

    Args:
        pipeline: TFX's intermediate representation in the JSON form of protocol buffers.
        resources: What nodes need, by node id.
        exit_handlers: Nodes that run last, whatever became of the others.
        versions: Of the packages that compiled it.
    """

    pipeline: Mapping[str, Any]
    resources: Mapping[str, Resources] = field(default_factory=dict)
    exit_handlers: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the pipeline."""
        return self.pipeline["pipeline_info"]["id"]

    @property
    def root(self) -> str:
        """Folder of its artifacts."""
        root = self.pipeline["runtime_spec"]["pipeline_root"]
        value = root.get("field_value") or root["runtime_parameter"]["default_value"]
        return value["string_value"]

    @property
    def upstream(self) -> dict[str, tuple[str, ...]]:
        """Nodes in an order in which they can run, each with those that have to run before it."""
        upstream = {
            node["node_info"]["id"]: tuple(sorted(node.get("upstream_nodes", ())))
            for node in self._nodes
        }
        others = {node: up for node, up in upstream.items() if node not in self.exit_handlers}
        return others | dict.fromkeys(self.exit_handlers, tuple(others))

    @property
    def strategies(self) -> dict[str, Strategy]:
        """Where each FeederTrainer trains, by node id."""
        return {
            node["node_info"]["id"]: Strategy(**json.loads(_property(node, "strategy")))
            for node in self._nodes
            if node["node_info"].get("type", {}).get("name") == _TRAINER
        }

    @property
    def _nodes(self) -> list[Mapping[str, Any]]:
        return [node["pipeline_node"] for node in self.pipeline["nodes"]]

    def asking(
        self, resources: Mapping[str, Resources], exit_handlers: Sequence[str]
    ) -> "CompiledPipeline":
        """Returns this pipeline with more of what is no part of it for TFX.

        Args:
            resources: By node id, instead of what was asked for. A FeederTrainer of which nothing
                is said gets what its strategy names.
            exit_handlers: Nodes that run last, beside those that do already.

        Raises:
            ConfigError: A node is named that the pipeline has not.
        """
        for argument, nodes in (("resources", resources), ("exit_handlers", exit_handlers)):
            for node in nodes:
                if node not in self.upstream:
                    raise ConfigError(
                        argument,
                        received=node,
                        expected=f"a node of the pipeline: {', '.join(self.upstream)}",
                    )
        by_default = {node: default_resources(each) for node, each in self.strategies.items()}
        asked = {**by_default, **self.resources, **resources}
        return dataclasses.replace(
            self,
            resources={node: each for node, each in asked.items() if each != Resources()},
            exit_handlers=tuple(dict.fromkeys((*self.exit_handlers, *exit_handlers))),
        )

    def require(self, node_id: str) -> None:
        """Sees that a node is there.

        Raises:
            InvalidNodeError: It is not.
        """
        if node_id not in self.upstream:
            nodes = ", ".join(self.upstream)
            raise InvalidNodeError("node", received=node_id, expected=f"one of {nodes}")

    def require_shared_root(self, claim: str, mount: str) -> None:
        """Sees that pods reach the artifacts.

        Args:
            claim: PersistentVolumeClaim that they mount; empty: none.
            mount: Where.

        Raises:
            ConfigError: They do not.
        """
        if "://" not in self.root and not (claim and Path(self.root).is_relative_to(mount)):
            raise ConfigError(
                "root",
                received=self.root,
                expected=f"an object store, or a folder below {mount}, where a claim is mounted",
                fix=f"Compile with --root {mount}/..., and name the claim.",
            )


def _property(node: Mapping[str, Any], name: str) -> str:
    return node["parameters"]["parameters"][name]["field_value"]["string_value"]


def write(file: CompiledPipeline, path: Path) -> None:
    """Writes a compiled pipeline, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    document = {"format": FORMAT, "version": VERSION, **dataclasses.asdict(file)}
    partial.write_text(json.dumps(document, indent=1), encoding="utf-8")
    os.replace(partial, path)


def read(path: Path) -> CompiledPipeline:
    """Reads a compiled pipeline.

    Raises:
        ConfigError: There is none, it is damaged, or another version of the format.
    """
    expected, fix = "a file that `tfx-feeder compile` wrote", "Compile the pipeline again."
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            "ir", received=str(path), expected=expected, fix=f"{error}. {fix}"
        ) from error
    if not isinstance(document, dict) or document.pop("format", None) != FORMAT:
        raise ConfigError("ir", received=str(path), expected=expected, fix=fix)
    version = document.pop("version", None)
    if version != VERSION:
        raise ConfigError(
            "ir",
            received=f"{path} with version {version} of the format",
            expected=f"version {VERSION}, which this release of tfx-feeder reads",
            fix=fix,
        )
    try:
        resources = {node: Resources(**asked) for node, asked in document.pop("resources").items()}
        handlers = tuple(document.pop("exit_handlers"))
        file = CompiledPipeline(resources=resources, exit_handlers=handlers, **document)
        _ = (file.name, file.root, file.upstream)
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            "ir", received=str(path), expected=expected, fix=f"It is damaged: {error!r}. {fix}"
        ) from error
    return file
