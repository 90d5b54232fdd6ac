"""The page in a real browser: no console error, no request, and it still shows its first screen."""

from __future__ import annotations

import shutil
import subprocess
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from gpuseg.insight.report import render_report
from tests.jobs import made_up

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--v=0",
    "--virtual-time-budget=2000",
]

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")


@pytest.fixture
def site():
    """A server that shows one page and remembers what was asked of it."""
    asked, pages = [], {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            found = pages.get(self.path)
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(found or b"")

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", pages, asked
    server.shutdown()
    thread.join()
    server.server_close()


def opened(url: str, tmp_path) -> tuple[str, list[str]]:
    """The page after it was laid out, and what the console said."""
    done = subprocess.run(
        [BROWSER, *OPTIONS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", url],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def test_the_page_opens_without_a_word_in_the_console_or_a_request(site, tmp_path):
    root, pages, asked = site
    pages["/report.html"] = render_report(made_up.report_of(made_up.answered(), "Whom to invite")).encode()
    dom, console = opened(f"{root}/report.html", tmp_path)
    assert "What to do on Monday" in dom
    assert console == []
    assert asked == ["/report.html"]


def test_the_test_can_fail(site, tmp_path):
    root, pages, asked = site
    pages["/bad.html"] = (
        b"<!DOCTYPE html><link rel=icon href='data:,'><script>console.error('x')</script><img src=/a.png>"
    )
    _, console = opened(f"{root}/bad.html", tmp_path)
    assert len(console) >= 1
    assert asked == ["/bad.html", "/a.png"]
