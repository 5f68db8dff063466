"""The figures are those that TensorFlow Model Analysis and Data Validation give themselves."""

import pytest

from tfx_feeder.components.slice_gen.distances import distance
from tfx_feeder.schemas.eval_config import read_thresholds, threshold_for
from tfx_feeder.schemas.evaluation import read_evaluation
from tfx_feeder.schemas.statistics import read_statistics

pytestmark = pytest.mark.slow  # TFMA and TFDV import TensorFlow.


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory):
    """The folder that TFMA wrote, and what its own loader reads of it."""
    import pandas as pd
    import tensorflow_model_analysis as tfma
    from google.protobuf import text_format
    from tensorflow_model_analysis.proto import config_pb2

    frame = pd.DataFrame(
        {
            "label": [0, 1] * 20,
            "prediction": [0.1, 0.9, 0.4, 0.3] * 10,
            "form": ["a", "b", "b", "a"] * 10,
        }
    )
    config = text_format.Parse(
        """
        model_specs { label_key: "label" prediction_key: "prediction" }
        slicing_specs {}
        slicing_specs { feature_keys: "form" }
        metrics_specs {
          metrics { class_name: "ExampleCount" }
          metrics {
            class_name: "BinaryAccuracy"
            threshold { value_threshold { lower_bound { value: 0.9 } } }
          }
          metrics {
            class_name: "AUC"
            per_slice_thresholds {
              slicing_specs { feature_keys: "form" }
              threshold { value_threshold { lower_bound { value: 0.5 } } }
            }
          }
        }
        """,
        config_pb2.EvalConfig(),
    )
    folder = tmp_path_factory.mktemp("evaluation")
    tfma.analyze_raw_data(frame, config, output_path=str(folder))
    loaded = tfma.load_eval_result(str(folder))
    return folder, loaded, tfma.load_validation_result(str(folder))


def test_slices_are_as_tfma_loads_them(evaluation):
    folder, loaded, validation = evaluation
    evaluated = read_evaluation(folder)
    ours = {(row.slice, row.metric): row.candidate for row in evaluated.rows}
    theirs = {
        (" ".join(str(part) for part in key[0]) if key else "all examples", metric): value
        for key, outputs in loaded.slicing_metrics
        for metric, kinds in outputs[""][""].items()
        if (value := kinds.get("doubleValue")) is not None and metric != "example_count"
    }
    assert len(theirs) == 6
    assert ours == theirs
    assert evaluated.blessed == validation.validation_ok
    assert not evaluated.blessed


def test_gates_are_those_that_tfma_wrote(evaluation):
    rules = read_thresholds(evaluation[0])
    assert threshold_for(rules, "binary_accuracy", "all examples").lower_bound == 0.9
    assert threshold_for(rules, "binary_accuracy", "form a").lower_bound == 0.9
    assert threshold_for(rules, "auc", "form b").lower_bound == 0.5
    assert threshold_for(rules, "auc", "all examples") is None


@pytest.fixture(scope="module")
def drift(tmp_path_factory):
    """The folders of two sets' statistics, and the distances that TFDV measures between them."""
    import numpy as np
    import pandas as pd
    import tensorflow_data_validation as tfdv

    random = np.random.default_rng(0)
    before = pd.DataFrame(
        {"height": random.normal(0, 1, 500), "colour": random.choice(["red", "blue"], 500)}
    )
    now = pd.DataFrame(
        {
            "height": random.normal(0.7, 1.5, 400),
            "colour": random.choice(["red", "blue", "green"], 400, p=[0.6, 0.2, 0.2]),
        }
    )
    folder = tmp_path_factory.mktemp("statistics")
    made = []
    for name, frame in (("before", before), ("now", now)):
        statistics = tfdv.generate_statistics_from_dataframe(frame)
        path = folder / name / "Split-train" / "FeatureStats.pb"
        path.parent.mkdir(parents=True)
        path.write_bytes(statistics.SerializeToString())
        made.append(statistics)
    schema = tfdv.infer_schema(made[1])
    tfdv.get_feature(schema, "height").drift_comparator.jensen_shannon_divergence.threshold = 0.01
    tfdv.get_feature(schema, "colour").drift_comparator.infinity_norm.threshold = 0.01
    anomalies = tfdv.validate_statistics(made[1], schema, previous_statistics=made[0])
    measured = {
        info.path.step[0]: info.drift_measurements[0].value for info in anomalies.drift_skew_info
    }
    return folder, measured


def test_distances_are_as_tfdv_measures_them(drift):
    folder, measured = drift
    [before], [now] = (read_statistics(folder / name) for name in ("before", "now"))
    assert set(measured) == {"height", "colour"}
    for name, value in measured.items():
        found = distance(now.feature(name), before.feature(name))
        assert found.value == pytest.approx(value, rel=1e-3)
