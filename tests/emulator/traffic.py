"""Bytes that kernels move, counted by the check build: ``python -m tests.emulator.traffic [--json] [NAME ...]``.

One row a case of ``traffic_cases.CASES``; ``counting.py`` says what is counted, and how.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

from tests.emulator.build import unavailable
from tests.emulator.cards import CARDS
from tests.emulator.counting import Row, measure
from tests.emulator.traffic_cases import CASES


def table_of(rows: Sequence[Row]) -> str:
    """Rows as text."""
    lines = [
        f"{'case':<40}{'n':>7}{'counted':>12}{'over':>7}{'limit':>7}{'sectors':>9}{'waves':>7}"
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
            f"{row.name:<40}{row.n:>7}{row.counted:>12}{row.ratio:>7.3f}{row.limit:>7.2f}{''.join(numbers)}{times}"
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Print all cases, or those whose names contain an argument; 0 when every limit holds."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.emulator.traffic", description=__doc__.split("\n")[0]
    )
    parser.add_argument("names", nargs="*", help="parts of the names of cases; all when none is given")
    parser.add_argument("--json", action="store_true", help="a list of objects")
    parser.add_argument("--markdown", action="store_true", help="the table of asv_benchmarks/README.md")
    chosen = parser.parse_args(arguments)
    reason = unavailable()
    if reason is not None:
        print(reason, file=sys.stderr)
        return 1
    cases = [case for case in CASES if not chosen.names or any(part in case.name for part in chosen.names)]
    rows = [measure(case) for case in cases]
    if chosen.json:
        print(json.dumps([{**asdict(row), "holds": row.holds} for row in rows], indent=2))
    else:
        print(markdown_of(rows) if chosen.markdown else table_of(rows))
    return 0 if rows and all(row.holds for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
