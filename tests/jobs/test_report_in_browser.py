"""The report in a real browser: nothing on the console, nothing asked of any network, the first screen says it all."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from gpuseg.jobs.demo import run_demo
from gpuseg.jobs.progress import SilentProgress

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
]

pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="needs Chromium on PATH; .ci/run installs it where it can"
)


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    return run_demo(tmp_path_factory.mktemp("browser") / "demo", SilentProgress()).report


def browse(page: Path, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BROWSER, *FLAGS, f"--user-data-dir={folder / 'profile'}", *options, page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )


def asked_by(page: Path, folder: Path) -> tuple[set[str], str, str]:
    """Addresses that the page asked for, whatever came of it, what the browser said, and the page as laid out.

    A browser also calls home on its own behalf; those requests have no page behind them ("not an origin").
    """
    log = folder / "net.json"
    done = browse(page, folder, "--enable-logging=stderr", f"--log-net-log={log}", "--dump-dom")
    events = [event.get("params") or {} for event in json.loads(log.read_text())["events"]]
    asked = {p["url"] for p in events if p.get("initiator") not in (None, "not an origin") and "url" in p}
    return {url for url in asked if not url.startswith(("file:", "data:"))}, done.stderr, done.stdout


def test_a_page_that_asks_is_caught(tmp_path):
    page = tmp_path / "asks.html"
    image = '<img src="http://127.0.0.1:9/x.png" alt="">'
    page.write_text(f"<html><body>{image}<script>console.error(1)</script></body></html>")
    asked, said, _ = asked_by(page, tmp_path)
    assert asked == {"http://127.0.0.1:9/x.png"}
    assert "CONSOLE" in said


def test_the_page_is_silent_and_asks_nothing_of_a_network(report, tmp_path):
    asked, said, laid_out = asked_by(report, tmp_path)
    assert asked == set()
    assert "CONSOLE" not in said
    assert "What to do on Monday" in laid_out


def test_the_page_is_drawn(report, tmp_path):
    shot = tmp_path / "first_screen.png"
    browse(report, tmp_path, f"--screenshot={shot}", "--window-size=1200,900")
    # A page without its styles or figures compresses to almost nothing.
    assert shot.stat().st_size > 30_000


def test_the_page_prints(report, tmp_path):
    paper = tmp_path / "report.pdf"
    browse(report, tmp_path, f"--print-to-pdf={paper}", "--no-pdf-header-footer")
    assert paper.read_bytes().startswith(b"%PDF")
    assert paper.stat().st_size > 20_000
