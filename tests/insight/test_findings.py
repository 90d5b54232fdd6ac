"""Two or three sentences: the largest, whose spend stands out, how sure."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa

from gpuseg.insight.certainty import Certainty
from gpuseg.insight.findings import findings, not_placed
from gpuseg.insight.measures import measures_of
from gpuseg.insight.profile import profile_segments
from gpuseg.insight.report import render_report
from gpuseg.insight.words import Wording
from tests.jobs import made_up

WORDING = Wording("shop", "shops")


def said(spend: list[float], silhouette: float) -> tuple[str, ...]:
    profiles = profile_segments(pa.table({"spend": spend}), [1, 1, 1, 2], measures_of(["spend"]))
    return findings(profiles, {1: "Small", 2: "Big"}, Certainty(silhouette, 0.9, 0.75, 1.8, ()), WORDING)


def test_three_sentences():
    largest, spend, sure = said([1.0, 1.0, 1.0, 9.0], 0.1)
    assert largest == '4 shops fall into 2 segments; the largest, "Small", holds 75 %.'
    assert spend == '"Big" holds 25 % of the shops and 75 % of the spend.'
    assert sure.startswith(
        "How sure: a useful cut of a continuum, not natural types. Mean silhouette 0.10 (below"
    )


def test_an_even_spend_is_no_finding():
    found = said([1.0, 1.0, 1.0, 1.1], 0.8)
    assert len(found) == 2
    assert found[1] == "How sure: the segments are well apart: strong structure. Mean silhouette 0.80."


def test_no_spend_at_all():
    assert len(said([0.0, 0.0, 0.0, 0.0], 0.3)) == 2


def test_an_answer_stands_where_the_spend_would():
    found = made_up.answered()
    said = findings(found.profiles, found.names, found.certainty, WORDING, found.answer)
    chosen = found.answer.chosen
    assert len(said) == 3
    assert said[1].startswith(f'Consider "{found.names[chosen.segment_id]}" first: ')
    assert f"of its {chosen.rate.base} invited bought a ticket (" in said[1]
    assert said[1].endswith("association, not effect: test it.")


def test_whoever_is_in_no_segment_is_told_of():
    unplaced = {"age is missing": 1594, "no purchase": 68, "outlier: visits": 6, "outlier: spend": 5, "x": 9}
    told = not_placed(unplaced, WORDING, 10)
    assert told == (
        "1,605 more shops are in no segment: age is missing (1,594) and outliers, which the job drops (11)."
    )
    assert (
        not_placed({"age is missing": 12}, WORDING, 10) == "12 more shops are in no segment: age is missing."
    )
    assert not_placed({"age is missing": 9, "no purchase": 68}, WORDING, 10) == ""
    found = made_up.answered()
    said = findings(found.profiles, found.names, found.certainty, WORDING, unplaced=told)
    assert said[0].endswith(f" {told}")


def test_the_first_screen_tells_of_them_too():
    report = replace(made_up.report_of(made_up.found()), unplaced={"age is missing": 40})
    assert "40 more members are in no segment: age is missing." in render_report(report)
    answered = replace(made_up.report_of(made_up.answered(), "A letter."), unplaced={"age is missing": 40})
    assert "40 more members are in no segment: age is missing." in render_report(answered)
