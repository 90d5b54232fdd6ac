"""Two or three sentences that say what a run found (room ``insight``; the report and the command line print them)."""

from __future__ import annotations

from collections.abc import Mapping

from gpuseg.customers.outliers import OUTLIER
from gpuseg.insight.answer import Answer
from gpuseg.insight.certainty import Certainty
from gpuseg.insight.customer_rows import NO_PURCHASE
from gpuseg.insight.profile import Profiles
from gpuseg.insight.withheld import Withheld
from gpuseg.insight.words import Wording, format_percent, format_score, list_words

_NOTABLE = 1.2
"""A segment's share of the spend over its share of customers, from which the spend is worth a sentence."""


def findings(
    profiles: Profiles,
    names: dict[int, str],
    certainty: Certainty,
    wording: Wording,
    answer: Answer | None = None,
    withheld: Withheld | None = None,
    unplaced: str = "",
) -> tuple[str, ...]:
    """What was found, most general first.

    Parameters
    ----------
    profiles : Profiles
        Of all segments.
    names : dict of int to str
        By segment id.
    certainty : Certainty
        How far to trust it.
    wording : Wording
        What this business calls its things.
    answer : Answer, optional
        What the segments say about the decision.
    withheld : Withheld, optional
        What may not be told of them.
    unplaced : str, default ""
        Who is in no segment, from :func:`not_placed`.

    Returns
    -------
    tuple of str
        How many segments and which is the largest; which to consider, or without an answer whose share of the spend
        stands out, if any does; how sure.
    """
    largest = max(profiles.segment_ids, key=lambda segment_id: (profiles.size(segment_id), -segment_id))
    customers = wording.count(profiles.n_customers)
    kept_back = Withheld() if withheld is None else withheld
    held = f", holds {format_percent(profiles.share(largest))}."
    found = [f"{customers} fall into {len(profiles.segment_ids)} segments"]
    found[0] += "." if largest in kept_back.sizes else f'; the largest, "{names[largest]}"{held}'
    found[0] += f" {unplaced}" if unplaced else ""
    spend = {segment_id: profiles.share_of("spend", segment_id) or 0.0 for segment_id in profiles.segment_ids}
    top = max(spend, key=lambda segment_id: (spend[segment_id] / profiles.share(segment_id), -segment_id))
    if answer is not None:
        found.append(_to_consider(answer, names, kept_back))
    elif spend[top] >= _NOTABLE * profiles.share(top) and top not in kept_back.measure("spend"):
        found.append(
            f'"{names[top]}" holds {format_percent(profiles.share(top))} of the {wording.customers} and '
            f"{format_percent(spend[top])} of the spend."
        )
    scale = " (below 0.25: no substantial structure)" if certainty.band == "none" else ""
    found.append(
        f"How sure: {_lower_first(certainty.verdict)} Mean silhouette {format_score(certainty.silhouette)}{scale}."
    )
    return tuple(sentence.replace("\N{NO-BREAK SPACE}", " ") for sentence in found)  # terminals need none


def not_placed(unplaced: Mapping[str, int], wording: Wording, min_cell: int) -> str:
    """Buyers who are in no segment, in a sentence: whoever reads a number of customers takes it for all of them.

    Parameters
    ----------
    unplaced : mapping of str to int
        Customers who are in no segment, by reason.
    wording : Wording
        What this business calls its things.
    min_cell : int
        Fewer are not told.

    Returns
    -------
    str
        Empty, if there is nobody to tell of.
    """
    counts: dict[str, int] = {}
    for reason, count in unplaced.items():
        kind = "outliers, which the job drops" if reason.startswith(OUTLIER) else reason
        counts[kind] = counts.get(kind, 0) + count
    told = {reason: count for reason, count in counts.items() if reason != NO_PURCHASE and count >= min_cell}
    if not told:
        return ""
    each = [reason if len(told) == 1 else f"{reason} ({count:,})" for reason, count in told.items()]
    return f"{sum(told.values()):,} more {wording.customers} are in no segment: {list_words(each)}."


def _to_consider(answer: Answer, names: dict[int, str], withheld: Withheld) -> str:
    chosen, verb = answer.chosen, answer.asked.counted
    if chosen is None:
        return f"Too few were {verb} in every segment to say which to consider."
    if chosen.segment_id in withheld.rates:
        return (
            f'Consider "{names[chosen.segment_id]}" first, as a randomised test: its rate would tell of too few who '
            f"{answer.asked.did}."
        )
    low, high = (format_percent(end) for end in chosen.rate.interval)
    base = "" if chosen.segment_id in withheld.nearly_all else f"{chosen.rate.base:,} "
    return (
        f'Consider "{names[chosen.segment_id]}" first: {format_percent(chosen.rate.value)} of its {base}'
        f"{verb} {answer.asked.did} ({low} to {high}), against {format_percent(chosen.rest.value)} of the others "
        f"{verb}; association, not effect: test it."
    )


def _lower_first(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]
