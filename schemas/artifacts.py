"""Artifact types of the suite, in addition to the standard types of TFX."""

from tfx import v1 as tfx


class TrainingHistory(tfx.dsl.Artifact):
    """Record of one training: ``history.json`` in the format of ``training_history.py``.

    Summary figures are stored as custom properties and can be listed without opening the file.
    The type declares no PROPERTIES, and its name is a dotted path, because the Kubeflow v2
    compiler accepts custom types in no other form.
    """

    TYPE_NAME = "tfx_feeder.TrainingHistory"


class ModelCard(tfx.dsl.Artifact):
    """Card of a pushed model: ``model_card.json`` in the format of ``model_card.py``.

    The same file is stored beside the pushed model. If nothing was pushed, the custom property
    ``pushed`` is 0 and there is no file. The Kubeflow v2 compiler restricts this type as it
    restricts ``TrainingHistory``.
    """

    TYPE_NAME = "tfx_feeder.ModelCard"


class Slices(tfx.dsl.Artifact):
    """Evaluation slices of annotated examples: ``slices.json`` in the format of ``slices.py``.

    The custom properties hold the number of slices by origin. The Kubeflow v2 compiler restricts
    this type as it restricts ``TrainingHistory``.
    """

    TYPE_NAME = "tfx_feeder.Slices"


class GateReport(tfx.dsl.Artifact):
    """Decision of EvalGate: ``gate_report.json`` in the format of ``gate_report.py``.

    The custom properties hold the decision, its reason in one line, and the number of slices by
    verdict. The Kubeflow v2 compiler restricts this type as it restricts ``TrainingHistory``.
    """

    TYPE_NAME = "tfx_feeder.GateReport"


class DriftReport(tfx.dsl.Artifact):
    """Comparisons of distributions: ``drift_report.json`` in the format of ``drift_report.py``.

    The custom properties hold the number of features that were tested, that drifted and that are
    skewed, the worst one, and ``alarm``, 0 or 1. The Kubeflow v2 compiler restricts this type as it
    restricts ``TrainingHistory``.
    """

    TYPE_NAME = "tfx_feeder.DriftReport"
