"""One customer of a run in plain words (jobs; for ``gpuseg show``): a local look-up, nothing is written."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gpuseg.insight.measures import Measure, measures_of
from gpuseg.insight.words import format_figure, format_score
from gpuseg.jobs.kept.runs import PROFILES, Run, open_run
from gpuseg.jobs.message_run import MESSAGES
from gpuseg.jobs.personality_run import PERSONALITY, PERSONALITY_FACTS
from gpuseg.personality.use_limits import NOT_FOR

FEATURES = "features.parquet"
"""Optional file of a run: one row a customer in original units, as ``customer_summary`` makes it (or features)."""
N_MEASURES = 3
_MANY = 0.1  # from this share on, the customers with the same value are told
_LOGGED = {"log_visits": "visits", "log_basket_value": "basket_value", "log_recency": "recency_days"}


@dataclass(frozen=True)
class Standing:
    """Where a customer stands in one measure.

    Parameters
    ----------
    measure : Measure
        In what.
    value, median : float
        Of the customer, of all customers.
    below : float
        Share of all customers below, ties counting half.
    tied : float, default 0
        Share of all customers with the same value, this one included.
    currency : str, default ""
        Sign before an amount.
    """

    measure: Measure
    value: float
    median: float
    below: float
    tied: float = 0.0
    currency: str = ""

    @property
    def strength(self) -> float:
        """Distance from the middle, 0 to 1/2."""
        return abs(self.below - 0.5)

    @property
    def sentence(self) -> str:
        """Such as "Many visits: 84, against a median of 31; above 93 of 100 customers"."""
        high = self.below > 0.5
        phrase = self.measure.high if high else self.measure.low
        value, median = (
            format_figure(found, self.measure.unit, self.currency) for found in (self.value, self.median)
        )
        # Of 100 others so many lie on the other side, the equal ones not among them; rounded down, so that it is never
        # more than true.
        middle = self.below if high else 1 - self.below
        hundred = max(0, math.floor(100 * (middle - self.tied / 2) + 1e-9))
        same = f", and like {math.floor(100 * self.tied)}" if self.tied >= _MANY else ""
        side = "above" if high else "below"
        against = "as is the median" if value == median else f"against a median of {median}"
        return f"{_upper_first(phrase)}: {value}, {against}; {side} {hundred} of 100 customers{same}"


def show_customer(folder: Path, customer: str) -> str:
    """What a run knows of a customer, in plain words.

    Parameters
    ----------
    folder : Path
        Of the run.
    customer : str
        The id, spelt as in the records.

    Returns
    -------
    str
        Some lines of text.

    Raises
    ------
    InputError
        There is no such run or customer.
    """
    run = open_run(folder)
    place = run.row(customer)
    row = run.segments.slice(place, 1).to_pylist()[0]
    lines = [f'Customer {customer} is in segment {row["segment_id"]}, "{row["segment_name"]}".']
    if _is_fallback(row, run):
        reason = row.get("fallback_reason")
        why = "" if reason is None else f" ({reason})"
        lines.append(
            f"That is the segment of customers who cannot be placed{why}; nothing more can be said of it."
        )
        return "\n".join(_plain([*lines, *_traits(run, customer), *_message(run, customer)]))
    lines += _firmness(row, run)
    lines += (
        _differences(run, customer) if run.has(FEATURES) else _segment_differences(run, row["segment_id"])
    )
    lines += [*_traits(run, customer), *_message(run, customer)]
    return "\n".join(_plain(lines))


def _traits(run: Run, customer: str) -> list[str]:
    """The estimated traits of a customer, and why others are not told."""
    row = _row_of(run, PERSONALITY, customer)
    if row is None:
        return []
    facts = json.loads(run.read(PERSONALITY_FACTS))
    lines = [f"Estimated {facts['construct']} (50 is the middle of all, 10 the spread):"]
    for trait, about in facts["traits"].items():
        if about["measurable"]:
            most = row[f"{trait}_because"]
            because = f"; most by {most.replace('_', ' ')}" if most else ""
            interval = f"{row[f'{trait}_low']:.0f} to {row[f'{trait}_high']:.0f}"
            lines.append(f"  - {trait}: estimated {row[trait]:.1f} ({interval}){because}")
        else:
            lines.append(f"  - {about['reason']}")
    return [*lines, f"  - {NOT_FOR}"]


def _message(run: Run, customer: str) -> list[str]:
    """The message group of a customer, and why."""
    row = _row_of(run, MESSAGES, customer)
    if row is None:
        return []
    second = f'; second best "{row["second_best"]}"' if row["second_best"] is not None else ""
    lines = [f'Message group "{row["group"]}": {row["reason"]}{second}.']
    if row.get("style") is not None:
        lines.append(f"  - {row['style']}; tone: {row['tone']}; language: {row['language']}")
    return [*lines, f"  - {NOT_FOR}"]


def _row_of(run: Run, name: str, customer: str) -> dict[str, Any] | None:
    """The row of a customer in a table that a run may have."""
    if not run.has(name):
        return None
    table = run.table(name)
    keys = table[run.customer]
    place = pc.index(
        keys, pa.scalar(run.segments[run.customer][run.row(customer)].as_py(), keys.type)
    ).as_py()
    return None if place < 0 else dict(table.slice(place, 1).to_pylist()[0])


def _is_fallback(row: dict[str, Any], run: Run) -> bool:
    known = row.get("is_fallback")
    return bool(row["segment_id"] == run.manifest["counts"]["fallback_segment"] if known is None else known)


def _firmness(row: dict[str, Any], run: Run) -> list[str]:
    lines = []
    second = row.get("second_segment_id")
    if row.get("margin") is not None and second is not None:
        firm = "Firmly" if row["margin"] >= 0.5 else "Clearly" if row["margin"] >= 0.2 else "Barely"
        lines.append(
            f"{firm} so: margin {format_score(row['margin'])} (0 is the border, 1 the centre). The next "
            f'nearest is segment {second}, "{run.names.get(second, "without customers")}".'
        )
    elif row.get("silhouette") is not None:
        nearer = (
            "nearer to its own segment" if row["silhouette"] > 0 else "on average nearer to another segment"
        )
        lines.append(f"Silhouette {format_score(row['silhouette'])} (-1 to 1): {nearer}.")
    if row.get("is_novel"):
        lines.append("Far from everybody whom the segments were made of: read this segment with care.")
    if row.get("is_outlier"):
        lines.append("An outlier: extreme in at least one of the figures that build segments.")
    return lines


def _differences(run: Run, customer: str) -> list[str]:
    table = run.table(FEATURES)
    keys = table[run.customer]
    place = pc.index(
        keys, pa.scalar(run.segments[run.customer][run.row(customer)].as_py(), keys.type)
    ).as_py()
    if place < 0:
        return [f"{FEATURES} has no figures of this customer."]
    standings = _standings(_original_units(table), place, _currency(run))
    chosen: dict[str, Standing] = {}
    for found in sorted(standings, key=lambda found: -found.strength):
        chosen.setdefault(found.measure.family, found)
    said = [f"  - {found.sentence}" for found in list(chosen.values())[:N_MEASURES] if found.strength > 0]
    if not said:
        return ["Differs from the average in nothing that was measured."]
    return ["Differs most from all customers in:", *said]


def _currency(run: Run) -> str:
    """The sign before amounts; runs of before it was kept have none."""
    return str(run.manifest["parameters"].get("currency", ""))


def _standings(values: dict[str, npt.NDArray[np.float64]], place: int, currency: str = "") -> list[Standing]:
    found = []
    for measure in measures_of(values):
        own = float(values[measure.column][place])
        known = values[measure.column][~np.isnan(values[measure.column])]
        if not measure.family or math.isnan(own):
            continue
        below = int(np.count_nonzero(known < own)), int(np.count_nonzero(known == own))
        middle = np.sort(known)[[(len(known) - 1) // 2, len(known) // 2]]
        share = (2 * below[0] + below[1]) / (2 * len(known))
        median = float(middle[0] + middle[1]) / 2.0
        found.append(Standing(measure, own, median, share, below[1] / len(known), currency))
    return found


def _original_units(table: pa.Table) -> dict[str, npt.NDArray[np.float64]]:
    """Columns of numbers; logged features as what they were made of (to be read, not to be computed with)."""
    found: dict[str, npt.NDArray[np.float64]] = {}
    for name in table.column_names:
        kind = table[name].type
        if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
            continue
        values = table[name].cast(pa.float64()).to_numpy()
        if name in _LOGGED:
            found.setdefault(_LOGGED[name], np.round(np.expm1(values), 6))
        else:
            found[name] = values
    return found


def _segment_differences(run: Run, segment_id: int) -> list[str]:
    """What the profiles say of the segment, where the run keeps no figures of single customers."""
    reason = f"This run keeps no figures of single customers ({FEATURES})"
    if not run.has(PROFILES):
        return [f"{reason}, and no {PROFILES}; nothing more can be said."]
    profiles = [row for row in run.table(PROFILES).to_pylist() if row["segment_id"] == segment_id]
    known = {measure.column: measure for measure in measures_of(row["measure"] for row in profiles)}
    standings = [
        Standing(known[row["measure"]], row["median"], row["population_median"], row["superiority"])
        for row in profiles
        if row["measure"] in known and known[row["measure"]].family and row["superiority"] is not None
    ]
    chosen: dict[str, Standing] = {}
    for found in sorted(standings, key=lambda found: -found.strength):
        chosen.setdefault(found.measure.family, found)
    said = []
    for found in list(chosen.values())[:N_MEASURES]:
        unit = found.measure.unit
        phrase = found.measure.high if found.below > 0.5 else found.measure.low
        own, median = (format_figure(figure, unit, _currency(run)) for figure in (found.value, found.median))
        said.append(f"  - {_upper_first(phrase)}: median {own}, against {median} of all customers")
    return [f"{reason}. Its segment differs most from the rest in:", *said] if said else [f"{reason}."]


def _upper_first(text: str) -> str:
    return text[:1].upper() + text[1:]


def _plain(lines: list[str]) -> list[str]:
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in lines]  # terminals need none
