"""The workbook: the same bytes for the same run, every figure a number, nothing taken for a formula."""

from __future__ import annotations

import html
import io
import re
import zipfile

from gpuseg.insight.withheld import withheld
from gpuseg.insight.words import FEW
from gpuseg.jobs.workbook import profiles_workbook
from tests.jobs import made_up


def made(names=None, started=made_up.STARTED, kept_back=None) -> bytes:
    found = made_up.answered()
    return profiles_workbook(
        found.profiles, names or found.names, found.answer, kept_back or found.withheld, started
    )


def part(content: bytes, name: str) -> str:
    return zipfile.ZipFile(io.BytesIO(content)).read(name).decode()


def test_the_same_run_gives_the_same_bytes():
    assert made() == made()
    assert made() != made(started=made_up.STARTED.replace(year=2025))
    assert "2024-05-06T07:08:09Z" in part(made(), "docProps/core.xml")


def test_both_sheets_hold_the_figures():
    found = made_up.answered()
    texts = html.unescape(part(made(), "xl/sharedStrings.xml"))
    for name in (*found.names.values(), "Rate of those contacted", "median", "index (all = 100)"):
        assert f">{name}<" in texts
    sheet = part(made(), "xl/worksheets/sheet1.xml")
    sizes = re.findall(r'<c r="C\d+"><v>(\d+)</v>', sheet)
    assert [int(size) for size in sizes] == list(found.profiles.sizes)


def test_what_is_withheld_is_a_mark():
    found = made_up.answered()
    assert f">{FEW}<" not in part(made(), "xl/sharedStrings.xml")
    kept_back = withheld(found.profiles, 41, found.answer, found.style_profiles)
    content = made(kept_back=kept_back)
    assert f">{FEW}<" in part(content, "xl/sharedStrings.xml")
    segments, figures = (part(content, f"xl/worksheets/sheet{number}.xml") for number in (1, 2))
    a_number = r'<c r="[{}][2-9]"(?: s="\d+")?><v>'
    assert re.findall(a_number.format("C-I"), segments) == []
    assert re.findall(a_number.format("D-G"), figures) == []
    assert re.findall(a_number.format("C"), figures)  # everybody's


def test_a_name_is_never_a_formula():
    names = dict.fromkeys(made_up.answered().names, "=1+1")
    content = made(names)
    assert "<f>" not in part(content, "xl/worksheets/sheet1.xml")
    assert "=1+1" in part(content, "xl/sharedStrings.xml")
