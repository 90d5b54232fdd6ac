"""The page made of a report (room ``insight``; jobs call it)."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from gpuseg.insight.report import answers, decisions, evidence, messages, provenance, traits, views
from gpuseg.insight.report.named import origin_of_names, placeholders, with_names
from gpuseg.insight.report.record import Report


def render_report(report: Report) -> str:
    """The report as one HTML page.

    Parameters
    ----------
    report : Report
        What to say.

    Returns
    -------
    str
        HTML that needs no network and no script, and holds no customer's key and no customer's row.
    """
    named, report = report.names, replace(report, names=placeholders(report.names))
    page = _template().render(
        report=report,
        origin_of_names=origin_of_names(waiting=named),
        wording=report.wording,
        summary=views.summary(report),
        answer=answers.answer(report),
        decisions=decisions.decisions(report),
        moved_most=decisions.moved_most(report),
        segments=views.segments(report),
        differences=views.difference_strips(report),
        figures=views.figures(report),
        levels=views.levels(report),
        categories=views.categories(report),
        styles=views.styles(report),
        traits=traits.traits(report),
        messages=messages.messages(report),
        choice=evidence.choice(report),
        firmness=evidence.firmness(report),
        cohorts=evidence.cohorts(report),
        data=provenance.data(report),
        method=provenance.method(report),
    )
    return with_names(page, named)


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("gpuseg.insight.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html")
