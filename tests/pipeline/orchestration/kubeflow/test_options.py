"""Options that do not match are rejected before anything is compiled."""

import dataclasses

import pytest

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.pipeline.orchestration.compiled_pipeline import CompiledPipeline
from tfx_feeder.pipeline.orchestration.kubeflow.options import Kubeflow
from tfx_feeder.pipeline.orchestration.kubernetes.cluster import Cluster


def file(root: str) -> CompiledPipeline:
    return CompiledPipeline(
        {
            "pipeline_info": {"id": "shop"},
            "runtime_spec": {"pipeline_root": {"field_value": {"string_value": root}}},
            "nodes": [{"pipeline_node": {"node_info": {"id": name}}} for name in ("Gen", "Tell")],
        }
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image": ""}, "image: expected"),
        ({"retries": -1}, "retries: expected 0 or more"),
        (
            {"run_options": {"span": ""}},
            "compile_options: expected arguments, because runs",
        ),
        (
            {"retrain_options": ()},
            "compile_options: expected arguments, because runs",
        ),
        *(
            ({name: words, "compile_options": words, "pvc": "c"}, r":\*\*\*@.* --secret")
            for name in ("compile_options", "retrain_options")
            for words in (("--store", "mysql://u:pw@h/db"), ("--store=postgresql:/u:pw@h/db",))
        ),
        ({"compile_options": ()}, "pvc: expected a PersistentVolumeClaim"),
        (
            {"compile_options": (), "pvc": "c", "run_options": {"--span": ""}},
            "run_options: expected names such as span",
        ),
    ],
)
def test_options_fit_each_other(options, message):
    with pytest.raises(ConfigError, match=message) as refused:
        Kubeflow(**{"image": "i", **options})
    assert "pw@" not in str(refused.value)


@pytest.mark.parametrize("root", ["s3://bucket/shop", "/data/shop"])
def test_a_root_is_on_an_object_store_or_below_the_claim(root):
    Kubeflow("i", pvc="c").check(file(root))


@pytest.mark.parametrize("options", [{}, {"pvc": "c", "mount": "/mnt"}])
def test_any_other_root_is_refused(options):
    with pytest.raises(ConfigError, match=r"root: expected an object store.*compile --root"):
        Kubeflow("i", **options).check(file("/data/shop"))


def test_kubeflow_has_one_exit_handler():
    two = dataclasses.replace(file("s3://bucket"), exit_handlers=("Gen", "Tell"))
    with pytest.raises(ConfigError, match="at most one"):
        Kubeflow("i").check(two)


@pytest.mark.parametrize(
    ("node", "path", "message"),
    [("Fit", "/data/j", "one of Gen, Tell"), ("Gen", "/tmp/j", "a path below /data")],
)
def test_a_cluster_belongs_to_a_node_and_meets_on_the_claim(node, path, message):
    cluster = Cluster("shop", workers=2, rendezvous_path=path)
    options = Kubeflow("i", pvc="c", clusters={node: cluster})
    with pytest.raises(ConfigError, match=message):
        options.check(file("/data/shop"))
