"""The report of a run on which EvalGate decided."""

import dataclasses

import pytest

from tests.pipeline.gated_run import write_store
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.report.charts.answers import answer_charts
from tfx_feeder.pipeline.report.collect import collect
from tfx_feeder.pipeline.report.pages import run_page
from tfx_feeder.pipeline.report.render import render
from tfx_feeder.pipeline.report.sections.data import data_section
from tfx_feeder.pipeline.report.sections.evaluation import evaluation_section
from tfx_feeder.schemas.answer_plots import AnswerPlots, DifferingExample, ReliabilityBin

PLOTS = AnswerPlots(
    confusion=((5, 1), (0, 4)),
    reliability=(ReliabilityBin(10, 0.8, 0.9),),
    baseline_reliability=(ReliabilityBin(10, 0.9, 0.8),),
    lost=(DifferingExample(1, 0, 1, "iVBORw0KGgo="),),
    won=(DifferingExample(0, 0, 1),),
)


@pytest.fixture(scope="module")
def facts(tmp_path_factory):
    """The run of a candidate that lost on form 3."""
    store = write_store(tmp_path_factory.mktemp("gated"))
    lineage = Lineage.open(store.folder)
    return collect(lineage, lineage.run("2"), str(store.folder))


def _blocks(section, kind):
    return [block for block in section.blocks if block.kind == kind]


def test_slices_stand_in_the_order_of_the_gate_with_its_thresholds_and_verdicts(facts):
    [table] = _blocks(evaluation_section(facts.evaluation), "table")
    rows = [[cell.text for cell in row] for row in table.rows]
    assert [row[0] for row in rows] == ["all examples", "form 3", "form 1", "label 5, form 3"]
    assert rows[0][-2:] == ["≥ 0.8, ≥ baseline −0.1", "passed"]
    assert rows[1][1:6] == ["declared", "200", "0.5750", "0.7500", "-0.1750"]
    assert rows[1][-2:] == ["≥ baseline +0", "refused"]
    assert rows[3][-1] == "no threshold"
    assert "to" in rows[1][6]


def test_the_line_that_decided_is_a_note(facts):
    [note] = _blocks(evaluation_section(facts.evaluation), "note")
    assert note.text.startswith("Not blessed: accuracy on form 3 of 200 examples: 0.5750")
    assert note.style == "bad"


def test_charts_have_intervals_of_the_values_and_of_the_differences(facts):
    [charts] = _blocks(evaluation_section(facts.evaluation), "charts")
    values, differences = (chart.spec["data"]["values"] for chart in charts.charts)
    assert [row["slice"] for row in values] == [row["slice"] for row in differences]
    for row in values:
        assert row["candidate_low"] < row["candidate"] < row["candidate_high"]
        assert row["low"] < row["difference"] < row["high"]
    assert [row["decision"] for row in differences] == [
        "passed",
        "refused",
        "passed" if differences[2]["difference"] >= 0 else "undecided",
        "not judged",
    ]
    assert differences[0]["margin"] == -0.1


def test_drift_is_a_table_of_verdicts(facts):
    tables = _blocks(data_section(facts), "table")
    [drift] = [table for table in tables if table.caption.startswith("Drift: eval against train")]
    [row] = drift.rows
    assert (row[0].text, row[-1].text, row[-1].style) == ("form", "drift: L-infinity 0.4", "warn")


def test_plots_of_the_answers_and_the_examples_that_differ(facts):
    evaluation = dataclasses.replace(facts.evaluation, plots=PLOTS)
    section = evaluation_section(evaluation)
    lost, won = _blocks(section, "gallery")
    assert lost.pictures[0].text == "label 1; candidate 0, baseline 1"
    assert won.pictures[0].png == ""
    page = render(run_page(dataclasses.replace(facts, evaluation=evaluation)))
    assert '<img src="data:image/png;base64,iVBORw0KGgo=" alt="label 1; candidate 0' in page
    confusion, reliability = answer_charts(PLOTS)
    assert "9 of 10 examples are right" in confusion.description
    assert "candidate, ECE 0.100; baseline, ECE 0.100" in reliability.description


def test_without_data_there_are_no_further_plots(facts):
    assert not facts.evaluation.plots
    assert answer_charts(facts.evaluation.plots) == []
