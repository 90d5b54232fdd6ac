"""What sets a segment apart, and a plain name from it (room ``insight``; jobs and reports call it).

Names follow from the profiles alone: the same profiles give the same names, no two segments share one, and the words
are those of :mod:`gpuseg.insight.measures`; the same words in another order are the same name. They are proposals, for
people who know the customers to change.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

from gpuseg.insight.measures import Measure
from gpuseg.insight.profile import MeasureProfile, Profiles, SegmentFigures

MEDIUM_EFFECT = 0.14
"""Distance of A from 1/2 from which a difference is called medium (Vargha & Delaney 2000): below it, no name."""
AVERAGE = "close to average"


@dataclass(frozen=True)
class Difference:
    """One way in which a segment differs from the rest.

    Parameters
    ----------
    measure : Measure
        In what.
    superiority : float
        Probability that a random customer of the segment lies above a random one of the rest.
    typical, population_typical : float
        In original units, as `figure` says.
    figure : str
        What they are: "median"; "mean", where the two medians are equal and would show no difference (of visits, where
        most customers came once); "share" of those who have it, of what customers have or have not.
    """

    measure: Measure
    superiority: float
    typical: float
    population_typical: float
    figure: str = "median"

    @property
    def strength(self) -> float:
        """Distance of the superiority from 1/2, 0 to 1/2."""
        return abs(self.superiority - 0.5)

    @property
    def phrase(self) -> str:
        """In words, such as "many visits"."""
        return self.measure.high if self.superiority > 0.5 else self.measure.low


def differences(profiles: Profiles, segment_id: int) -> tuple[Difference, ...]:
    """Medium and strong differences of a segment from the rest, strongest first, at most one a family of measures.

    Parameters
    ----------
    profiles : Profiles
        Of all segments.
    segment_id : int
        The segment.

    Returns
    -------
    tuple of Difference
        May be empty: the segment is close to average. Ties keep the order of the measures. What is known of less than
        half of the segment says nothing of it (the rhythm of visits, where most came once).
    """
    differing = []
    for entry in profiles.measures:
        if not entry.measure.family:
            continue
        own = entry.segment(segment_id)
        if math.isnan(own.superiority) or 2 * own.figures.known < profiles.size(segment_id):
            continue
        difference = Difference(entry.measure, own.superiority, *_typical(entry, own))
        if difference.strength >= MEDIUM_EFFECT:
            differing.append(difference)
    differing.sort(key=lambda difference: -difference.strength)
    strongest: dict[str, Difference] = {}
    for difference in differing:
        strongest.setdefault(difference.measure.family, difference)
    return tuple(strongest.values())


def _typical(entry: MeasureProfile, own: SegmentFigures) -> tuple[float, float, str]:
    part, whole = own.figures, entry.population
    if entry.measure.binary:
        return part.mean, whole.mean, "share"
    if part.median == whole.median:
        return part.mean, whole.mean, "mean"
    return part.median, whole.median, "median"


def name_segments(profiles: Profiles, n_phrases: int = 2) -> dict[int, str]:
    """A plain, unique name for each segment from its strongest differences.

    Parameters
    ----------
    profiles : Profiles
        Of all segments.
    n_phrases : int, default 2
        Differences in a name; segments that would share a name get more.

    Returns
    -------
    dict of int to str
        By segment id, such as ``{1: "Many visits, large baskets"}``. A segment without a medium difference is "Close to
        average". Segments that no difference tells apart carry their number.
    """
    phrases = {
        segment_id: tuple(found.phrase for found in differences(profiles, segment_id)) or (AVERAGE,)
        for segment_id in profiles.segment_ids
    }
    used = {segment_id: found[:n_phrases] for segment_id, found in phrases.items()}
    while True:
        shared = [one for one in _sharing(used) if len(used[one]) < len(phrases[one])]
        if not shared:
            break
        used |= {one: phrases[one][: len(used[one]) + 1] for one in shared}
    numbered = _sharing(used)
    return {one: _name(found) + (f" ({one})" if one in numbered else "") for one, found in used.items()}


def _name(phrases: tuple[str, ...]) -> str:
    text = ", ".join(phrases)
    return text[:1].upper() + text[1:]


def _sharing(used: dict[int, tuple[str, ...]]) -> list[int]:
    """Segments whose name says the same as that of another, in whatever order."""
    counts = Counter(frozenset(found) for found in used.values())
    return [segment_id for segment_id, found in used.items() if counts[frozenset(found)] > 1]
