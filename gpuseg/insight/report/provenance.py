"""Where the figures come from, in words (room ``insight``; the page calls it): the data, the method, the promise."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from gpuseg import __version__
from gpuseg.core.promise import CONTRACT
from gpuseg.customers.attribute_encoding import attribute_of
from gpuseg.customers.outliers import NO_SPREAD, OUTLIER
from gpuseg.customers.reading.audit import ERASED
from gpuseg.insight.attribute_measures import attribute_label
from gpuseg.insight.customer_rows import NO_PURCHASE
from gpuseg.insight.groups import group_of
from gpuseg.insight.measures import CATEGORY_PREFIX
from gpuseg.insight.report.answers import feature_label, shown_count, stability_of
from gpuseg.insight.report.decisions import weighing_as_one
from gpuseg.insight.words import list_words

if TYPE_CHECKING:
    from gpuseg.insight.report.record import Report

_NOTES = {
    "time taken as UTC": (
        "Times without a zone",
        "taken as UTC; days and months are those of the calendar {time_zone}",
    ),
    "time clock shown twice or never": (
        "Times that the clock showed twice or never",
        "taken as the earlier instant",
    ),
    "amount zero or negative": (
        "Amount of 0 or less (rounded to the smallest coin): returns, adjustments, free items",
        "kept and counted, but no visit and no part of a share",
    ),
    "quantity zero or negative": ("Quantity of 0 or less", "kept: money counts, not pieces"),
    "product null": ("No product given", "kept"),
    "basket null": ("No receipt number", "kept"),
    "category null": ("No {category} known for the product", 'kept, under the {category} "unknown"'),
    "own_label null taken as false": ("Own label unknown", "taken as not own label"),
    "consent null taken as false": ("No answer on consent", "taken as no: left out, and counted so"),
    "discount null taken as 0": ("No discount given", "taken as 0"),
    "coupon null taken as 0": ("No coupon given", "taken as 0"),
}

_OUTLIERS = {
    "flag": "kept as they are",
    "winsorise": "pulled in to that bound in the segmentation; as they are in all figures",
    "drop": "set apart, in none of these segments",
}

_FEATURES = {
    "log_visits": "number of visits, as ln(1 + x)",
    "log_basket_value": "mean value of a basket, as ln(1 + x)",
    "log_recency": "days since the last purchase, as ln(1 + x)",
    "discount_share": "share saved by discounts",
    "root_coupon_share": "share paid by coupons, as its square root",
    "own_label_share": "own-label share of the spend",
    "category_diversity": "variety of {categories} (entropy, 0 to 1)",
    "regularity": "regularity of the days between visits (minus the burstiness of Goh and Barabási)",
}


def data(report: Report) -> list[dict[str, str]]:
    """What was found in the records and what was done about it, with counts."""
    tx, wording, facts = report.tx, report.wording, report.facts
    words = {"time_zone": tx.time_zone, "category": wording.category}
    audit = tx.audit
    rows = []
    if audit is not None:
        rows.append(_row("Lines read", audit.n_rows, "one line of a receipt each"))
        rows += [
            _row(f"Left out: {reason}", count, "as declared; not in any figure")
            for reason, count in audit.rejects().items()
            if reason != f"customer {ERASED}"
        ]
        if tx.n_rejected_rows:
            rows.append(
                _row("Lines left out that can be mended", tx.n_rejected_rows, _where_rejects_are(report))
            )
        rows += _consent(report)
        if not audit.n_rejected:
            rows.append(_row("Lines left out", 0, "every line could be read"))
    for note, count in tx.notes().items():
        what, done = _NOTES.get(note, (note, "kept"))
        rows.append(_row(what.format(**words), count, done.format(**words)))
    if report.kept_out:
        kept = [wording.category_names.get(name, name) for name in report.kept_out]
        rows.append(
            _row(
                f"{_upper(wording.categories)} that are sensitive: {list_words(kept)}",
                len(kept),
                f"they build, name and explain no segment: shares, variety and {wording.categories} bought are as if "
                "these lines were not there; visits and money count them",
            )
        )
    if report.opted_in:
        rows.append(
            _row(
                f"Sensitive, but opted in: {list_words([*report.opted_in])}",
                len(report.opted_in),
                f"may build segments; the purpose: {report.opt_in_purpose}",
            )
        )
    customers = wording.customers
    if tx.n_erased:
        erased = f"{_upper(customers)} who were erased"
        rows.append(
            _row(erased, shown_count(tx.n_erased, report), "their lines are left out; not in any figure")
        )
    rows += [
        _row(
            f"{_upper(customers)} without a purchase",
            shown_count(facts["n_without_purchase"], report),
            "set apart, in none of these segments",
        ),
        _row(
            f"{_upper(customers)} with fewer than three visit days",
            shown_count(facts["n_neutral_regularity"], report),
            "regularity unknown: neutral (0) in the segmentation, absent from its figures",
        ),
    ]
    return rows + _attributes(report) + _outliers(report)


def _outliers(report: Report) -> list[dict[str, str]]:
    found, customers = report.outliers, report.wording.customers
    if found is None:
        return []
    telling = {
        feature_label(name, report): shown_count(count, report)
        for name, count in found.by_feature.items()
        if count
    }
    by_feature = list_words([f"{name} ({count})" for name, count in telling.items()])
    done = f"{_OUTLIERS[found.rule.action]}; by feature: {by_feature}" if telling else "nothing to do"
    rows = [
        _row(
            f"{_upper(customers)} more than {found.rule.words} of a feature (is_outlier)",
            shown_count(found.n_marked, report),
            done,
        )
    ]
    narrow = [feature_label(name, report) for name, why in found.unbounded.items() if why == NO_SPREAD]
    if narrow:
        done = f"{list_words(narrow)}: no spread by this rule, so nobody is far out"
        rows.append(_row("Features without such a bound", len(narrow), done))
    return rows


def _attributes(report: Report) -> list[dict[str, str]]:
    """Customers whose attributes are missing or change."""
    customers = _upper(report.wording.customers)
    rows = [
        _row(
            f"{customers} of whom {attribute_label(name)} was recorded differently over time",
            shown_count(count, report),
            "the latest value holds",
        )
        for name, count in report.facts.get("n_attribute_changes", {}).items()
    ]
    rows += [
        _row(f"{customers} not placed: {reason}", shown_count(count, report), "in the segment “Not placed”")
        for reason, count in report.unplaced.items()
        if reason != NO_PURCHASE and not reason.startswith(OUTLIER)
    ]
    return rows


def _where_rejects_are(report: Report) -> str:
    written, all_of_them = report.tx.rejected_rows().num_rows, report.tx.n_rejected_rows
    which = "each" if written == all_of_them else f"the first {written:,}"
    return f"rejects.parquet has {which}, with its file, its row and every reason"


def _consent(report: Report) -> list[dict[str, str]]:
    """Customers left out, wholly or in part, for want of consent."""
    counts, customers = report.tx.consent, _upper(report.wording.customers)
    if counts is None:
        return []
    return [
        _row(
            f"{customers} without consent in any line",
            shown_count(counts.excluded, report),
            "left out altogether, before anything was computed",
        ),
        _row(
            f"{customers} with consent in some lines only",
            shown_count(counts.partly, report),
            "only their lines with consent are used",
        ),
    ]


def method(report: Report) -> dict[str, Any]:
    """How the segments were made, and what anybody needs to make them again."""
    wording = report.wording
    return {
        "features": _features(report),
        "n_features": len(report.feature_names),
        "seed": report.seed,
        "contract": CONTRACT,
        "version": __version__,
        "fingerprint": report.tx.fingerprint,
        "visits_are": report.facts["visits_are"],
        "as_of": report.facts["as_of"],
        "customer": wording.customer,
        "but_sensitive": _but_sensitive(report),
        "as_one": weighing_as_one(report),
        "stability": stability_of(report) is not None,
        "limits": report.choice.rule != "silhouette",
        "min_cell": report.min_cell,
    }


def _but_sensitive(report: Report) -> str:
    return " (sensitive kinds left aside)" if report.kept_out else ""


def _features(report: Report) -> list[str]:
    words = {"categories": report.wording.categories}
    listed = [_FEATURES[name].format(**words) for name in report.feature_names if name in _FEATURES]
    shares = [
        entry.measure.label
        for entry in report.profiles.measures
        if entry.measure.is_category and entry.measure.column in report.feature_names
    ]
    if shares:
        largest = f"the {len(shares)} largest {report.wording.categories}"
        listed.append(
            f"share of the spend{_but_sensitive(report)} in each of {largest}: {list_words(shares)}"
        )
    groups = Counter(group_of(name) for name in report.feature_names if attribute_of(name) is not None)
    listed += [
        f"{feature_label(group, report)}{'' if size == 1 else f', in {size} columns'}"
        for group, size in groups.items()
    ]
    unknown = [
        name
        for name in report.feature_names
        if name not in _FEATURES and not name.startswith(CATEGORY_PREFIX) and attribute_of(name) is None
    ]
    return listed + unknown


def _row(what: str, count: int | str, done: str) -> dict[str, str]:
    return {"what": what, "count": count if isinstance(count, str) else f"{count:,}", "done": done}


def _upper(word: str) -> str:
    return word[:1].upper() + word[1:]
