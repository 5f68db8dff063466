import pytest
from tfx import v1 as tfx
from tfx.utils import import_utils

from tfx_feeder.schemas import artifacts

TYPES = [t for t in vars(artifacts).values() if isinstance(t, type)]


@pytest.mark.parametrize("artifact_type", TYPES)
def test_types_are_found_by_their_names_as_vertex_does(artifact_type):
    assert issubclass(artifact_type, tfx.dsl.Artifact)
    assert import_utils.import_class_by_path(artifact_type.TYPE_NAME) is artifact_type
