"""``quality.json`` (jobs; for the files of a run): how far to trust the segments, in figures for programs."""

from __future__ import annotations

import json
import math
from typing import Any

from gpuseg.insight.answer import Answer
from gpuseg.jobs.pipeline import Segmentation
from gpuseg.quality.stability import Stability


def quality_json(found: Segmentation, run_id: str) -> str:
    """The figures behind "how sure", as JSON text.

    Parameters
    ----------
    found : Segmentation
        What the run found.
    run_id : str
        Of the run.
    """
    certainty, choice = found.certainty, found.choice
    stability = next(entry.stability for entry in choice.evidence if entry.k == choice.k)
    record = {
        "run_id": run_id,
        "k": choice.k,
        "rule": choice.rule,
        "reason": choice.reason,
        "limits_met": choice.met,
        "elbow": choice.elbow,
        "verdict": certainty.verdict,
        "silhouette": {"euclidean": certainty.silhouette, "squared_euclidean": certainty.silhouette_squared},
        "largest_share": certainty.largest_share,
        "effective_segments": certainty.effective_segments,
        "stability": None if stability is None else _stability(stability),
        "segments": [_segment(found, segment_id, stability) for segment_id in found.profiles.segment_ids],
        "evidence": [
            {
                "k": entry.k,
                "silhouette": entry.silhouette,
                "inertia": entry.inertia,
                "largest_share": entry.largest_share,
                "effective_segments": entry.effective_segments,
                "smallest": entry.smallest,
                "stability": None if entry.stability is None else _number(entry.stability.lowest),
                "separation": entry.separation,
                "fails": list(entry.fails),
            }
            for entry in choice.evidence
        ],
        "alternatives": [
            {"choice": other.choice, "what": other.what, "adjusted_rand_index": other.agreement}
            for other in found.alternatives
        ],
        "outcome": None if found.answer is None else _outcome(found.answer),
    }
    return json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _stability(stability: Stability) -> dict[str, Any]:
    return {
        "replicates": stability.n_boot,
        "adjusted_rand_index": stability.ari,
        "lowest_jaccard": stability.lowest,
        "band": stability.band,
        "customers": stability.n_rows,
        "sampled": stability.sampled,
    }


def _segment(found: Segmentation, segment_id: int, stability: Stability | None) -> dict[str, Any]:
    firm = found.certainty.segment(segment_id)
    cluster = found.clusters[segment_id]
    return {
        "segment_id": segment_id,
        "name": found.names[segment_id],
        "customers": found.profiles.size(segment_id),
        "share": found.profiles.share(segment_id),
        "silhouette_median": firm.median,
        "nearer_elsewhere": firm.nearer_elsewhere,
        "jaccard": None if stability is None else _number(stability.segment(cluster).jaccard),
    }


def _outcome(answer: Answer) -> dict[str, Any]:
    chosen = answer.chosen
    asked = answer.asked
    return {
        "window": [day.isoformat() for day in asked.outcome.window],
        "validation_window": None
        if asked.validation is None
        else [day.isoformat() for day in asked.validation.window],
        "did": asked.did,
        "denominator": answer.rates.denominator,
        "base_floor": answer.rates.base_floor,
        "to_consider": None if chosen is None else chosen.segment_id,
        "segments": [
            {
                "segment_id": entry.segment_id,
                "contacted": entry.rate.base,
                "with_outcome": entry.rate.hits,
                "rate": _number(entry.rate.value),
                "interval": [_number(end) for end in entry.rate.interval],
                "rest": _number(entry.rest.value),
                "difference": _number(entry.difference),
                "difference_interval": [_number(end) for end in entry.difference_interval],
                "p": entry.p,
                "q": entry.q,
                "test": entry.test,
                "enough": entry.enough,
            }
            for entry in answer.rates.segments
        ],
        "features": [
            {
                "feature": entry.feature,
                "auc": _number(entry.auc),
                "interval": [_number(end) for end in entry.interval],
            }
            for entry in answer.associations
        ],
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
