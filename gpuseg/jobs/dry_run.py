"""What a job would take (jobs; for ``gpuseg run --dry-run``): from footers and headers alone, nothing is written."""

from __future__ import annotations

from pathlib import Path

from gpuseg.cluster.planning import plan_rows
from gpuseg.core.fit_plan import said
from gpuseg.customers.attribute_encoding import MOST_LEVELS, AttributeRule
from gpuseg.customers.reading.parts import Source
from gpuseg.customers.reading.sources import open_source
from gpuseg.insight.measures import CATEGORY_PREFIX
from gpuseg.jobs.customer_table import attribute_rules
from gpuseg.jobs.declared.job_file import JobFile, job_words, read_job
from gpuseg.jobs.run import settings_of
from gpuseg.jobs.steps import not_building

_ALWAYS = ("log_visits", "log_basket_value", "log_recency", "regularity")
_OF_ROLES = {
    "discount": ("discount_share",),
    "coupon": ("root_coupon_share",),
    "own_label": ("own_label_share",),
    "category": ("category_diversity",),
}
_TABLES = 4
"""Tables of features that a run has at a time: as they are made, as they are built from, scaled, and in one array."""
_FLOAT64 = 8


def dry_run(path: Path) -> str:
    """The memory that choosing the segments of a job would take.

    Parameters
    ----------
    path : Path
        The job file.

    Returns
    -------
    str
        Records, features, and the memory plan, in a few lines. Customers are at most as many as records.

    Raises
    ------
    SchemaError
        The job file has problems.
    SourceError
        There is no such job file, or its records are missing.
    """
    job = read_job(path)
    with job_words():
        source = open_source(job.locate(job.source.path), [], job.source.dialect())
    n_rows = _records(source)
    n_features = most_features(job)
    plan = plan_rows(n_rows, n_features, tuple(job.segments.clusters))
    row = _TABLES * n_features * _FLOAT64
    tables = "" if n_rows is None else f", {said(n_rows * row)}"
    counted = "a number of records that only reading tells" if n_rows is None else f"{n_rows:,} records"
    customers = "" if n_rows is None else f" of at most {n_rows:,} customers, as if each had one record"
    return "\n".join(
        [
            f"{source.where}: {counted} in {_n_files(source)}",
            f"Features: at most {n_features}{customers}",
            f"Tables of features: {row} B a customer{tables}, beside the plan",
            str(plan),
            "Nothing but headers and footers was read, and nothing was written; gpuseg check looks at a sample",
        ]
    )


def most_features(job: JobFile) -> int:
    """Features that a job builds segments from, at most: levels of categories are known once they are read."""
    settings = settings_of(job)
    rules = [rule for rule in attribute_rules(job) if rule.builds]
    attributes = sum(_most_columns(rule) for rule in rules)
    if job.attributes_only:
        return attributes
    used = job.used_roles()
    columns = [*_ALWAYS, *(name for role in used for name in _OF_ROLES.get(role, ()))]
    if "category" in used:
        wanted = settings.n_categories
        count = wanted if isinstance(wanted, int) else len(wanted)
        columns += [f"{CATEGORY_PREFIX}{number}" for number in range(count)]
    return len(columns) - len(not_building(columns, settings.describe_only)) + attributes


def _most_columns(rule: AttributeRule) -> int:
    return (1 if rule.kind == "number" else MOST_LEVELS) + (rule.missing == "indicator")


def _records(source: Source) -> int | None:
    """Records, where footers tell."""
    counts = [part.n_rows for part in source.parts]
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _n_files(source: Source) -> str:
    count = len({part.label for part in source.parts})
    return f"{count:,} file{'s' * (count > 1)}"
