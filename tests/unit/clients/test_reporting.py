"""Pages to forward: the numbers are in them, plots are well-formed, text cannot become markup, and nothing is loaded."""

import re
from xml.etree import ElementTree

import pytest
from google.protobuf import text_format

from kept.reporting import charts
from kept.reporting.evaluation import evaluation_page
from kept.reporting.safety import safety_page
from kept.safety_review.v1 import evaluation_pb2, reports_pb2

REPORT = text_format.Parse(
    """
    since { seconds: 1772323200 }  # 2026-03-01
    until { seconds: 1772496000 }
    days { day { seconds: 1772323200 } clean: 4100 flagged: 12 incomplete: 3 }
    days { day { seconds: 1772409600 } clean: 5200 flagged: 7 }
    categories { category: "fraud" flags: 19 cases: 4 upheld: 2 dismissed: 1 }
    decided: 3 decided_late: 1 overturned: 1 appeals: 2 waiting: 6
    median_time_to_decision { seconds: 5400 }
    p90_time_to_decision { seconds: 183600 }
    versions { rules_version: "7-<script>" category: "fraud" upheld: 11 dismissed: 5 }
    """,
    reports_pb2.GetSafetyReportResponse(),
)
EVALUATION = text_format.Parse(
    """
    manifest { set_id: "evalset_x" categories { category: "fraud" items: 40 } categories { category: "hate" withheld: true } }
    controls: 100
    current {
        rules_version: "7-a"
        categories {
            category: "fraud" true_positives: 36 false_positives: 2 false_negatives: 4
            recall { value: 0.9 low: 0.769 high: 0.96 } decided: 16
        }
    }
    candidate { rules_version: "8-b" categories { category: "fraud" true_positives: 39 false_negatives: 1 } }
    comparisons { category: "fraud" both: 36 only_candidate: 3 p_value: 0.25 }
    """,
    evaluation_pb2.EvaluateDetectorsResponse(),
)


def _plots(page: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL)]


@pytest.mark.parametrize("page", [safety_page(REPORT, EVALUATION), evaluation_page(EVALUATION)])
def test_a_page_stands_alone(page: str) -> None:
    assert len(_plots(page)) >= 3
    assert "<script>" not in page
    assert not re.search(r"(?:src|href)=|url\(|@import", page)


def test_a_months_page_has_its_numbers() -> None:
    page = safety_page(REPORT)
    assert "Safety review in March 2026" in page
    for cell in ("9,322", "19", "90 min", "2 d 3 h", "7-&lt;script&gt;"):
        assert f"<td>{cell}</td>" in page
    assert "03-02: 5,207" in page, "a column says what it stands for"
    assert "How good the detectors are" not in page
    assert "How good the detectors are" in safety_page(REPORT, EVALUATION)


def test_a_month_without_anything_is_a_page_too() -> None:
    page = safety_page(reports_pb2.GetSafetyReportResponse())
    assert "Nothing was flagged." in page
    assert "<td>–</td>" in page


def test_an_evaluation_shows_both_versions_and_what_is_withheld() -> None:
    page = evaluation_page(EVALUATION)
    assert "0.900 (0.769 to 0.960)" in page
    assert "Withheld, for too few customers are behind them: hate." in page
    assert "<td>0.250</td>" in page
    names = {element.text for plot in _plots(page) for element in plot.iter() if element.text}
    assert {"● 7-a", "● 8-b"} <= names


def test_an_interval_is_drawn_where_it_lies() -> None:
    plot = ElementTree.fromstring(charts.intervals("Recall", [charts.Point("a", 0.5, 0.25, 1.0)]))
    (dot,) = plot.iter("{http://www.w3.org/2000/svg}circle")
    left, right = 190, 700
    assert float(dot.attrib["cx"]) == (left + right) / 2
    lines = [element.attrib["d"] for element in plot.iter("{http://www.w3.org/2000/svg}path")]
    assert f"M{left + 0.25 * (right - left)} 38H{right}.0" in lines
