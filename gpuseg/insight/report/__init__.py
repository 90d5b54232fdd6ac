"""The report (room ``insight``; jobs call it): one HTML file, no network, no customer's key and no customer's row.

``page`` holds the record of what is reported and renders it, ``views`` turns records into words and figures, ``plots``
draws, and ``templates`` holds the page and its style sheet.
"""

from gpuseg.insight.report.page import Report, render_report

__all__ = ["Report", "render_report"]
