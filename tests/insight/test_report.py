"""The page: well formed, alone, readable by a screen reader, without a customer's key; every figure in its place."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser
from importlib.resources import files
from itertools import pairwise
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from gpuseg.insight.report import plots, render_report
from gpuseg.insight.words import NONE
from tests.jobs import made_up

VOID = {"br", "hr", "img", "input", "link", "meta", "col"}


@dataclasses.dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    text: str = ""


class Page(HTMLParser):
    """Every element with its text; refuses tags that do not close."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[Element] = []
        self.open: list[Element] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        element = Element(tag, {name: value or "" for name, value in attrs})
        assert len(element.attributes) == len(attrs), f"an attribute twice in <{tag}>"
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag, attrs):
        self.elements.append(Element(tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        if tag in {"td", "th"}:
            self.handle_data(" ")
        self.open.pop()

    def handle_data(self, data):
        for element in self.open:
            element.text += data

    def all(self, tag):
        return [element for element in self.elements if element.tag == tag]

    @property
    def words(self):
        (body,) = self.all("body")
        return " ".join(body.text.split())


@pytest.fixture(scope="module")
def html():
    return render_report(made_up.report_of(made_up.found()))


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


def test_the_parser_notices_a_missing_end():
    with pytest.raises(AssertionError):
        Page("<p><b>half</p>")


def test_one_file_and_nothing_else(html, page):
    assert html.startswith("<!DOCTYPE html>")
    assert not page.all("script")
    for element in page.elements:
        assert element.tag not in {"iframe", "img", "object", "embed", "video", "audio", "base", "form"}
        for name in ("src", "srcset", "data", "action", "poster", "xlink:href"):
            assert name not in element.attributes
        assert re.match(r"#|data:,$", element.attributes.get("href", "#"))
        assert not any(name.startswith("on") for name in element.attributes)
    assert not re.search(r"url\(|@import|https?:|//\w", html)
    (policy,) = [e for e in page.all("meta") if e.attributes.get("http-equiv") == "Content-Security-Policy"]
    assert policy.attributes["content"].startswith("default-src 'none'")


def test_no_customer_is_on_the_page(html):
    keys = made_up.found().keys.to_pylist()
    assert len(keys) == 160
    assert [key for key in keys if key in html] == []


def test_a_screen_reader_finds_its_way(page):
    (root,) = page.all("html")
    assert root.attributes["lang"] == "en"
    assert len(page.all("title")) == len(page.all("h1")) == len(page.all("main")) == 1
    levels = [int(e.tag[1]) for e in page.elements if re.fullmatch("h[1-6]", e.tag)]
    assert all(after - before <= 1 for before, after in pairwise(levels))
    ids = [e.attributes["id"] for e in page.elements if "id" in e.attributes]
    assert len(ids) == len(set(ids))
    for element in page.elements:
        assert element.attributes.get("aria-labelledby", ids[0]) in ids
        if element.attributes.get("href", "").startswith("#"):
            assert element.attributes["href"][1:] in ids
    for svg in page.all("svg"):
        assert svg.attributes["role"] == "img"
        assert svg.attributes["aria-label"]
    assert len(page.all("table")) == len(page.all("caption")) == 10
    assert all(cell.attributes["scope"] in {"row", "col"} for cell in page.all("th"))
    assert all(caption.text.strip() for caption in page.all("caption"))


def test_plots_are_well_formed_xml(html):
    drawn = re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL)
    assert len(drawn) > 15
    for svg in drawn:
        ET.fromstring(svg)


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_colours_have_contrast():
    style = (files("gpuseg.insight.report") / "templates" / "style.css").read_text(encoding="utf-8")
    colours = dict(re.findall(r"--([\w]+): (#[0-9a-f]{6});", style))
    assert {f"s{number}" for number in range(1, plots.N_COLOURS + 1)} < set(colours)
    for name in ("ink", "soft", "accent", *(f"s{number}" for number in range(1, plots.N_COLOURS + 1))):
        assert contrast(colours[name], colours["paper"]) >= 4.5, name
    for name in ("ink", "soft"):
        assert contrast(colours[name], colours["wash"]) >= 4.5, name
    shades = re.findall(r"\.r(\d) \{ background: (#[0-9a-f]{6});( color: #fff;)? \}", style)
    assert len(shades) == 10
    for number, shade, white in shades:
        assert contrast(shade, "#ffffff" if white else colours["ink"]) >= 4.5, number


def test_the_first_screen_answers(page):
    screen = page.words[: page.words.index("The segments Share of")]
    for words in (
        "Groups of members that behave alike.",
        "What to do next Choose one decision. Go through the groups with people who know these members",
        "160 members in 4 segments.",
        "How sure",
        "not tied to a decision.",
        "Mean silhouette",
    ):
        assert words in screen


def test_a_decision_replaces_the_warning():
    words = Page(render_report(made_up.report_of(made_up.found(), "Whom to send the spring catalogue"))).words
    assert "not tied to a decision" not in words
    assert "The decision: Whom to send the spring catalogue" in words


@pytest.fixture(scope="module")
def answered():
    return render_report(made_up.report_of(made_up.answered(), "Whom to invite"))


def test_the_first_screen_says_what_to_do(answered):
    words = Page(answered).words
    screen = words[: words.index("The segments Share of")]
    found = made_up.answered()
    chosen = found.answer.chosen
    for said in (
        f"“{found.names[chosen.segment_id]}” first: 40 members (25",
        f"of its {chosen.rate.base} invited bought a ticket",
        "Association, not effect:",
        "In 3 repeats with members drawn again",
        "What to do on Monday Test it before rolling it out. Draw",
        "Invite both alike, and count who bought a ticket within 31 days",
    ):
        assert said in screen, said


def test_every_segment_has_a_rate_with_its_base_and_a_suggestion(answered):
    found = made_up.answered()
    page = Page(answered)
    for segment in found.answer.rates.segments:
        assert f"of {segment.rate.base} invited (" in page.words
        assert found.answer.suggestion(segment.segment_id) in page.words
    assert page.words.count("Consider first, as a randomised test.") == 1


def test_an_answer_reads_as_well_as_none(answered):
    page = Page(answered)
    assert len(page.all("table")) == len(page.all("caption")) == 11
    assert [key for key in made_up.answered().keys.to_pylist() if key in answered] == []
    assert not re.search(r"\b(nan|NaN|None|inf|True|False)\b", page.words)
    assert "No stability over resamples" not in answered
    ids = [e.attributes["id"] for e in page.elements if "id" in e.attributes]
    assert len(ids) == len(set(ids))
    assert {e.attributes["aria-labelledby"] for e in page.all("section")} <= set(ids)


def test_every_choice_has_its_alternatives(page):
    found = made_up.found()
    words = page.words[page.words.index("The choices behind it") :]
    assert {entry.choice for entry in found.alternatives} == {"k", "scaling", "outliers", "draw", "feature"}
    for entry in found.alternatives:
        assert f": {entry.agreement:.2f}" in words.replace("\N{MINUS SIGN}", "-")
    for said in ("3 segments", "5 segments", "the next seed", "without “shares of aisles”", "“Coupon share”"):
        assert said in words


def test_every_style_has_its_formula_and_reliability(page):
    found = made_up.found()
    words = page.words[page.words.index("Spending styles") :]
    assert len(found.style_profiles) == len(found.styles.styles) >= 5
    for entry in found.style_profiles:
        assert entry.style.formula.replace("customer", "member") in words
        assert f"{entry.style.label} low: {entry.style.low}" in words
        assert sum(figures.known for _, figures in entry.segments) == entry.population.known
        assert f"{entry.reliability.correlation:.2f}".replace("-", "\N{MINUS SIGN}") in words


def test_small_groups_are_not_shown():
    report = dataclasses.replace(made_up.report_of(made_up.answered(), "Whom to invite"), min_cell=41)
    page = Page(render_report(report))
    assert "under 41" in page.words
    for start, end in (("Each segment with", "What goes with"), ("What sets them apart", "The choices")):
        assert not re.search(r"\b40\b(?! %)", page.words[page.words.index(start) : page.words.index(end)])
    assert "fewer than 41 invited" in page.words


def test_honesty_about_structure(html):
    found = made_up.found()
    low = dataclasses.replace(found.certainty, silhouette=0.1)
    text = render_report(made_up.report_of(dataclasses.replace(found, certainty=low)))
    assert "A useful cut of a continuum, not natural types." in text
    assert "No stability over resamples" in html


def test_every_segment_has_its_row(page):
    found = made_up.found()
    for segment_id, name in found.names.items():
        assert f"{segment_id} {name} {found.profiles.size(segment_id)}" in page.words


def test_every_k_has_its_scores(page):
    for entry in made_up.found().choice.evidence:
        chosen = " (chosen)" if entry.k == 4 else ""
        assert f"{entry.k}{chosen} {entry.silhouette:.3f}" in page.words


def cells(html: str, name: str) -> list[str]:
    """Texts of a cohort's row after its name."""
    (row,) = re.findall(rf'<tr><th scope="row">{name}</th>(.*?)</tr>', html, flags=re.DOTALL)
    return [
        " ".join(re.sub("<[^>]+>", " ", cell).split())
        for cell in re.findall(r"<td.*?</td>", row, flags=re.DOTALL)
    ]


def test_what_cannot_be_observed_has_no_figure(html):
    retention = made_up.found().retention
    june = cells(html, "June 2023")
    counts = retention.counts[5]
    assert june[0] == "20"
    assert june[1] == "100"
    assert june[1:] == [
        f"{NONE} not observable yet"
        if np.isnan(count)
        else "\N{ASTERISK OPERATOR} too few to show"
        if 0 < count < 10 or 10 < count < 20
        else f"{5 * count:.0f}"
        for count in counts[: len(june) - 1]
    ]
    assert sum(cell.endswith("not observable yet") for cell in june) == len(june) - 1 - 7
    assert "January 2023</th>" not in html  # already members, in no cohort


def test_months_in_which_nobody_came_have_no_row(html, page):
    assert "April 2023</th>" not in html
    assert "A month in which nobody came has no row." in page.words


def test_a_beginning_without_lookback_is_told():
    found = made_up.found()
    now = dataclasses.replace(found, retention=dataclasses.replace(found.retention, lookback=0))
    words = Page(render_report(made_up.report_of(now))).words
    assert (
        "which begin on 1 January 2023: whoever bought before counts as new in the first rows"
        in words.replace("\xa0", " ")
    )
    assert "came later" not in words


def test_small_cohorts_are_not_shown(html):
    september = cells(html, "September 2023")
    assert september[0] == "\N{ASTERISK OPERATOR}"
    assert set(september[1:]) == {"\N{ASTERISK OPERATOR} too few to show", f"{NONE} not observable yet"}
    # Beside the total of 44, March and June would tell the 4 of September: one of them goes with it.
    assert made_up.found().retention.n_in_cohorts == 44
    assert cells(html, "March 2023")[0] == "\N{ASTERISK OPERATOR}"
    assert cells(html, "June 2023")[0] == "20"


def test_words_of_the_business_and_escaping(html, page):
    assert "member" in page.words
    assert "customer" not in page.words.lower()
    assert "&lt;b&gt;pantry&lt;/b&gt; &amp; &#34;more&#34;" in html
    assert "€" in html


def test_no_figure_is_nan(page):
    assert not re.search(r"\b(nan|NaN|None|inf|True|False)\b", page.words)


def test_only_the_time_of_the_run_differs(html):
    later = dataclasses.replace(
        made_up.report_of(made_up.found()), started=made_up.STARTED.replace(year=2025, second=33)
    )
    other = render_report(later)
    assert html.replace("2024-05-06T07:08:09Z", "").replace("2024-05-06 07:08:09", "") == other.replace(
        "2025-05-06T07:08:33Z", ""
    ).replace("2025-05-06 07:08:33", "")
