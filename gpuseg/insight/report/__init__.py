"""The report (room ``insight``; jobs call it): one HTML file, no network, no customer's key and no customer's row.

``record`` holds what is reported, ``page`` renders it, ``views`` and its neighbours turn records into words and
figures, ``plots`` draws, and ``templates`` holds the page and its style sheet.
"""

from gpuseg.insight.report.page import render_report
from gpuseg.insight.report.record import Report

__all__ = ["Report", "render_report"]
