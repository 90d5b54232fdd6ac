"""What kernels cost, without a device: ``python -m tests.emulator.traffic [--json | --markdown | --write] [NAME ...]``.

Bytes that they move, counted by the check build, one row a case of ``traffic_cases.CASES`` (``counting.py`` says what
is counted, and how); and the instruction mix of their hot loops, one row a kernel (``mix.py``), where there are a
compiler and a disassembler.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tests.emulator import build, gate, mix, sections
from tests.emulator.cards import CARDS
from tests.emulator.counting import Row, measure
from tests.emulator.mix import Mix
from tests.emulator.traffic_cases import CASES

README = Path(__file__).parents[2] / "asv_benchmarks" / "README.md"


def table_of(rows: Sequence[Row]) -> str:
    """Rows as text."""
    lines = [
        f"{'case':<46}{'n':>7}{'counted':>12}{'over':>7}{'limit':>7}{'sectors':>9}{'waves':>7}"
        + "".join(f"{card.name + ' ms':>10}" for card in CARDS)
        + "  at n, bound by"
    ]
    for row in rows:
        numbers = [
            f"{'-' if v is None else format(v, '.2f'):>{w}}"
            for v, w in ((row.sectors, 9), (row.wavefronts, 7))
        ]
        times = "".join(f"{row.roofline[card.name]:>10.3f}" for card in CARDS)
        lines.append(
            f"{row.name:<46}{row.n:>7}{row.counted:>12}{row.ratio:>7.3f}{row.limit:>7.2f}{''.join(numbers)}{times}"
            f"  {row.at:,}, {row.bound[CARDS[0].name]}{'' if row.holds else '   BEYOND'}"
        )
    return "\n".join(lines)


def markdown_of(rows: Sequence[Row]) -> str:
    """Rows as the table of asv_benchmarks/README.md."""
    heads = [f"{card.name}, ms" for card in CARDS]
    lines = [
        f"| case | counted over compulsory | sectors a warp | wavefronts | rows | {' | '.join(heads)} |",
        "|---|---|---|---|---|" + "---|" * len(CARDS),
    ]
    for row in rows:
        numbers = ["-" if value is None else f"{value:.2f}" for value in (row.sectors, row.wavefronts)]
        times = [f"{row.roofline[card.name]:.3f} ({row.bound[card.name]})" for card in CARDS]
        lines.append(
            f"| {row.name} | {row.ratio:.3f} | {' | '.join(numbers)} | {row.at:.0e} | {' | '.join(times)} |"
        )
    return "\n".join(lines)


def section(rows: Sequence[Row]) -> str:
    """What stands between the markers of asv_benchmarks/README.md."""
    return f"Counted in what g++ {counted_with()} makes of the kernels:\n\n{markdown_of(rows)}\n"


def counted_with() -> str:
    """Version of the compiler whose loads and stores are counted."""
    said = re.search(r"version (\S+)", build._compiler_version())
    return said[1] if said else "of unknown version"


def instruction_mixes() -> list[Mix]:
    """Every kernel for both architectures."""
    return [one for source in gate.files() for arch in mix.ARCHITECTURES for one in mix.mixes(source, arch)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print all cases and kernels, or those whose names contain an argument; 0 when every limit holds."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.emulator.traffic", description=__doc__.split("\n")[0]
    )
    parser.add_argument(
        "names", nargs="*", help="parts of the names of cases and kernels; all when none is given"
    )
    parser.add_argument(
        "--json", action="store_true", help="an object: cases, kernels, what is wrong or left out"
    )
    parser.add_argument("--markdown", action="store_true", help="the tables of asv_benchmarks/README.md")
    parser.add_argument("--write", action="store_true", help="write these tables anew")
    chosen = parser.parse_args(arguments)
    reason = build.unavailable()
    if reason is not None:
        print(reason, file=sys.stderr)
        return 1

    def wanted(name: str) -> bool:
        return not chosen.names or any(part in name for part in chosen.names)

    rows = [measure(case) for case in CASES if wanted(case.name)]
    left_out = mix.unavailable()
    found = instruction_mixes() if left_out is None else []
    wrong = mix.faults(found) if found else []
    shown = [one for one in found if wanted(one.kernel)]
    if chosen.json:
        report = {
            "cases": [{**asdict(row), "holds": row.holds} for row in rows],
            "kernels": [{**asdict(one), "kernel": one.kernel} for one in shown],
            "faults": wrong,
            "left_out": left_out,
        }
        print(json.dumps(report, indent=2))
    elif chosen.markdown:
        print(section(rows), mix.section(shown) if shown else left_out or "", sep="\n")
    else:
        print(table_of(rows), mix.table(shown) if shown else left_out or "", *wrong, sep="\n")
    if chosen.write and not chosen.names:
        sections.write(README, "traffic", section(rows))
        if found:
            sections.write(README, "instructions", mix.section(found))
    return 0 if (rows or shown) and not wrong and all(row.holds for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
