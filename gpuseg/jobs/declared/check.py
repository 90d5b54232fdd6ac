"""What is wrong with a job, and what it would do (jobs; for ``gpuseg check``): a sample is read, nothing is written."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from gpuseg.customers.attribute_encoding import encoding_of
from gpuseg.customers.attributes import attributes_of_records
from gpuseg.customers.finishing import no_purchase
from gpuseg.customers.outliers import OUTCOMES
from gpuseg.customers.reading.parts import first_records
from gpuseg.customers.reading.roles import value_kind
from gpuseg.customers.reading.sources import column_names, open_source
from gpuseg.customers.reading.texts import times_from_text
from gpuseg.customers.reading.transactions import Transactions
from gpuseg.customers.reading.values import times_out_of_range
from gpuseg.customers.sensitive import KINDS, allowed_categories
from gpuseg.errors import InputError, SchemaError
from gpuseg.insight.styles import NEEDS
from gpuseg.jobs.customer_table import attribute_rules, read_customers
from gpuseg.jobs.declared.draft import TO_BE_SAID, category_names
from gpuseg.jobs.declared.job_file import JobFile, job_words, read_job
from gpuseg.jobs.declared.job_problems import nearest
from gpuseg.jobs.declared.job_sections import ContactFilter, Outcome
from gpuseg.jobs.events import open_end, place_of
from gpuseg.jobs.personality_plan import personality_plan
from gpuseg.jobs.run import messages_of, personality_of
from gpuseg.personality.measurable import measurable_at_most
from gpuseg.personality.use_limits import NOT_FOR

SAMPLE_ROWS = 100_000
"""Records of each file that are read."""

_BUILDERS = ("time", "amount", "basket", "category", "discount", "coupon", "own_label")
"""Roles that features are made of; the others count, join or convert."""

_EPOCH = dt.date(1970, 1, 1)


@dataclass(frozen=True)
class Sample:
    """The first records of a job.

    Parameters
    ----------
    job : JobFile
        The job.
    tx : Transactions
        Its first records.
    whole : bool
        Whether these are all of them.
    categories : tuple of str
        The categories in them.
    """

    job: JobFile
    tx: Transactions
    whole: bool
    categories: tuple[str, ...]

    @property
    def days(self) -> tuple[dt.date, dt.date]:
        """First and last local day of the records."""
        assert self.tx.audit is not None
        assert self.tx.audit.days is not None
        first, last = self.tx.audit.days
        return _EPOCH + dt.timedelta(first), _EPOCH + dt.timedelta(last)


def check_job(path: Path, head: int = SAMPLE_ROWS) -> str:
    """Read a job file and a sample of its records.

    Parameters
    ----------
    path : Path
        The job file.
    head : int
        Records to read of each file.

    Returns
    -------
    str
        What the job would do, in a few lines.

    Raises
    ------
    SchemaError
        Every problem of the job file; or, if it is one, every problem of its files and their first records.
    SourceError
        There is no such job file.
    """
    job = read_job(path)
    problems: list[str] = []
    sample = _sample(job, head, problems)
    problems += [
        *_attribute_problems(job),
        *_message_problems(job),
        *_personality_problems(job),
        *_score_problems(job),
    ]
    if job.use_case is not None:
        for name, events in (
            ("outcome", job.use_case.outcome),
            ("contact_filter", job.use_case.contact_filter),
        ):
            if events is not None:
                problems += [
                    f"use_case.{name}: {problem}" for problem in _event_problems(job, events, sample, head)
                ]
    if sample is not None:
        problems += [*_value_problems(sample), *_choice_problems(sample), *_unmapped(sample, head)]
    if problems:
        raise SchemaError(str(path), problems)
    assert sample is not None
    return "\n".join(_intentions(sample))


def _sample(job: JobFile, head: int, problems: list[str]) -> Sample | None:
    try:
        tx = job.read_records(head)
    except SchemaError as error:
        problems += [f"{error.where}: {problem}" for problem in error.problems]
    except InputError as error:
        problems.append(str(error))
    else:
        assert tx.audit is not None
        return Sample(job, tx, tx.audit.n_rows < head, tuple(category_names(tx)))
    return None


def _attribute_problems(job: JobFile) -> list[str]:
    """Columns that the job names and does not read, and the files do not have."""
    try:
        known = column_names(job.locate(job.source.path), job.source.dialect()) + job.columns_of_customers()
    except InputError:
        return []  # told already
    return [
        f"columns: there is no column {name!r}; {nearest(name, known)}"
        for name in job.attributes()
        if name not in known and name not in job.read_attributes()
    ]


def _message_problems(job: JobFile) -> Iterator[str]:
    """Styles that the roles do not allow, and what is wrong with the file of message modules."""
    if job.messages is None:
        return
    try:
        messages_of(job)
    except SchemaError as error:
        yield from (f"messages.modules: {error.where}: {problem}" for problem in error.problems)
    except InputError as error:
        yield f"messages.modules: {error}"
    if job.messages.by == "styles":
        used = job.used_roles()
        for name in dict.fromkeys(job.messages.asked()):
            if NEEDS.get(name, "customer") not in used:
                cure = "give it, or choose by another"
                yield f"messages: the style {name} needs a column with the role {NEEDS[name]}; {cure}"


def _score_problems(job: JobFile) -> Iterator[str]:
    """Traits that messages go by, and the weights do not have."""
    if job.messages is None or job.messages.by != "personality" or job.personality is None:
        return
    try:
        known = personality_plan(job.personality, job.locate)[1].weights.traits
    except InputError:
        return  # told already
    for name in dict.fromkeys(job.messages.asked()):
        if name not in known:
            yield f"messages: there is no trait {name!r}; {nearest(name, list(known))}"


def _personality_problems(job: JobFile) -> Iterator[str]:
    """What is wrong with the map of categories, the weights and the column."""
    if job.personality is None:
        return
    try:
        personality_of(job)
    except SchemaError as error:
        yield from (f"personality: {error.where}: {problem}" for problem in error.problems)
    except InputError as error:
        yield f"personality: {error}"
    try:
        known = column_names(job.locate(job.source.path), job.source.dialect())
    except InputError:
        return  # told already
    column = job.personality.column
    if column is not None and column not in known:
        yield f"personality.column: there is no column {column!r}; {nearest(column, known)}"


def _unmapped(sample: Sample, head: int) -> Iterator[str]:
    """A map of categories that knows none of those in the records."""
    section, job = sample.job.personality, sample.job
    if section is None:
        return
    try:
        plan, model = personality_plan(section, job.locate)
        column = plan.column or sample.tx.roles.category
        same = column == sample.tx.roles.category
        tx = sample.tx if same else job.read_records(head, category=column)
    except InputError:
        return  # told already
    names = category_names(tx)
    if names and (model.categories.codes(names) >= model.categories.unmapped).all():
        values = f"the {len(names):,} values of the column {column!r}, such as {names[0]!r}"
        cure = "give a CSV file with the columns value and category"
        yield f"personality.categories: {plan.categories} knows none of {values}; {cure}"


def _value_problems(sample: Sample) -> Iterator[str]:
    """What customers are, and cannot be encoded; of a part of the records, what holds for all of them."""
    job, tx = sample.job, sample.tx
    try:
        known, given = attributes_of_records(tx), read_customers(job, tx)
        customers = pa.chunked_array([table["customer"] for table in tx.tables()]).unique()
        own = customers if tx.customer_type is None else customers.cast(tx.customer_type)
        if given is not None:
            known = known.joined(given, own)
    except SchemaError as error:
        yield from (f"{error.where}: {problem}" for problem in error.problems)
    except InputError as error:
        yield str(error)
    else:
        for rule in attribute_rules(job):
            values = known.of(rule.name, own)
            if not sample.whole and values.null_count == len(values):
                continue  # the rest may say more
            lenient = rule.missing == "error" and not sample.whole
            try:
                encoding_of(replace(rule, missing="fallback") if lenient else rule, values, "columns")
            except InputError as error:
                yield str(error)


def _event_problems(
    job: JobFile, events: Outcome | ContactFilter, sample: Sample | None, head: int
) -> list[str]:
    """Columns that events lack, times that are none, keys of another kind than the customers'."""
    wanted = [events.customer, *filter(None, _times(events)), *events.filter]
    try:
        with job_words(place_of(events)):
            source = open_source(job.locate(events.source.path), wanted, job.dialect_of(events.source))
            known = column_names(job.locate(events.source.path), job.dialect_of(events.source))
            missing = [
                f"there is no column {name!r}; {nearest(name, known)}" for name in wanted if name not in known
            ]
            if missing:
                return missing
            pieces = [raw.table for part in first_records(source, head).parts for raw in part.read(wanted)]
    except InputError as error:
        return [str(error)]
    table = pa.concat_tables(pieces, promote_options="permissive")
    problems = [f"{source.where}: 0 rows"] if not len(table) else []
    for name in filter(None, _times(events)):
        problems += _time_problems(
            table[name].combine_chunks(), name, source.dialect, ends=name == open_end(events)
        )
    if sample is not None and not source.as_text:
        problems += _key_problems(
            sample, value_kind(table.schema.field(events.customer).type), events.customer
        )
    return problems


def _times(events: Outcome | ContactFilter) -> tuple[str | None, ...]:
    return (events.time,) if isinstance(events, Outcome) else (events.time, events.start, events.end)


def _time_problems(column: pa.Array, name: str, dialect: object, *, ends: bool) -> list[str]:
    kind = value_kind(column.type)
    if kind.startswith("time") or kind in {"date", "null"}:
        count = 0 if ends or kind == "null" else times_out_of_range(column)
        cure = "mend or drop them"
        found = f"column {name!r} lies before 1900 or after 2199 in {count:,} of {len(column):,} rows; {cure}"
        return [found] if count else []
    if kind != "text":
        return [f"column {name!r} holds {kind}, no times; convert it to a timestamp or a date"]
    stamps, bad = times_from_text(column.cast(pa.large_string()), dialect)  # type: ignore[arg-type]
    count = sum(int(mask.sum()) for mask in bad.values())
    if not count:
        return _time_problems(stamps, name, dialect, ends=ends)
    rows = f"{count:,} of {len(column):,} rows"
    cure = "write it as 2024-12-31, or declare day_first or time_format in its source's csv section"
    return [f"column {name!r} holds text that is no time in {rows}; {cure}"]


def _key_problems(sample: Sample, kind: str, name: str) -> list[str]:
    own = "text" if sample.tx.customer_type is None else value_kind(sample.tx.customer_type)
    if kind in {own, "null"}:
        return []
    return [
        f"column {name!r} holds {kind}, and the customers of the records are {own}: they never meet; cast one of them"
    ]


def _choice_problems(sample: Sample) -> Iterator[str]:
    """Choices that the records cannot follow; of a part of the records, only what holds for all of them."""
    job, (first, last) = sample.job, sample.days
    case = job.use_case
    if job.as_of is not None and sample.whole and first > job.as_of:
        yield f"features end on {job.as_of}, and the records begin on {first}; no record is left for features"
    if case is not None and case.outcome_window is not None and sample.whole and last < (job.as_of or last):
        yield f"features_until is {job.as_of}, and the records end on {last}; features would miss the days between"
    if sample.whole:
        yield from _too_few(sample)
    names = job.features.categories
    if not isinstance(names, int):
        if sample.tx.roles.category is None:
            yield "features.categories names categories, and no column plays the role category"
        elif sample.whole:
            unknown = [name for name in names if name not in sample.categories]
            yield from (
                f"features.categories: no record is of {name!r}; {nearest(name, list(sample.categories[:50]))}"
                for name in unknown
            )
    known = (*KINDS, *sample.categories)
    if sample.whole or sample.tx.roles.category is None:
        yield from (
            f"sensitive.opt_in: {name!r} is neither a kind nor a category; {nearest(name, list(known[:50]))}"
            for name in job.sensitive.opt_in
            if name not in known
        )


def _too_few(sample: Sample) -> Iterator[str]:
    """Fewer buyers than segments: whatever else a run would make of them, it cannot make these."""
    lines = pa.concat_tables([table.select(["customer", "amount"]) for table in sample.tx.tables()])
    most = max(sample.job.segments.clusters)
    found = pc.count_distinct(lines.filter(pc.greater(lines["amount"], 0))["customer"]).as_py()
    if not found:
        yield str(no_purchase(sample.tx, None)).removeprefix(f"{sample.tx.where}: ")
    elif found < most:
        have = "1 customer has" if found == 1 else f"{found:,} customers have"
        yield f"segments.clusters tries up to {most} segments, and only {have} a purchase; lower it"


def _intentions(sample: Sample) -> Iterator[str]:
    job, tx, (first, last) = sample.job, sample.tx, sample.days
    looked = "all" if sample.whole else "the first"
    yield f"{tx.where}: {looked} {tx.n_rows:,} rows can be used, {first} to {last}"
    today = dt.datetime.now(dt.UTC).date()
    if last > today + dt.timedelta(1):
        yield f"  the last day lies in the future (today is {today}): are the dates read as they are meant?"
    yield from (f"  left out: {count:,} rows ({reason})" for reason, count in (tx.rejects or {}).items())
    yield "Roles: " + ", ".join(f"{role} = {column}" for role, column in tx.roles.declared().items())
    building = [
        column
        for role, column in job.used_roles().items()
        if role in _BUILDERS and job.use_of(column) == "build"
    ]
    did = [] if job.attributes_only else [f"what customers did, by {', '.join(building)}"]
    attributes = [name for name in job.read_attributes() if job.use_of(name) == "build"]
    are = [f"what they are, by {', '.join(attributes)}"] if attributes else []
    yield f"Builds segments ({job.segmentation_type}): {'; '.join(did + are)}"
    for use in ("describe", "protected", "ignore"):
        named = [column for column in job.columns if job.use_of(column) == use]
        if named:
            yield f"{use.capitalize()}: {', '.join(named)}"
    yield from _sensitive(sample)
    if job.consent.column is None:
        yield f"Consent is not recorded: {job.consent.not_recorded}"
    else:
        yield f"Consent for {job.consent.purpose}: rows where {job.consent.column} is true"
    yield f"Days are counted in {tx.time_zone}; amounts have {job.minor_units} decimals"
    case = job.use_case
    if case is None:
        yield "Generic segmentation: not tied to a decision"
    else:
        yield f"Decision: {case.decision}"
        unsaid = [key for key, words in TO_BE_SAID.items() if getattr(case, key) == words]
        if unsaid:
            yield f"Still in the words of init, and the report will show them: use_case.{', use_case.'.join(unsaid)}"
        if case.outcome is not None and case.outcome_window is not None:
            yield f"Features to {job.as_of}; outcome from {case.outcome_window[0]} to {case.outcome_window[1]}"
        if case.validation_window is not None:
            first, last = case.validation_window
            yield f"The outcome from {first} to {last} helps choose the number of segments, and is not reported"
    rule = job.outliers.as_rule()
    yield f"Outliers, more than {rule.words} of a feature: {OUTCOMES[rule.action]}"
    yield from _personality(job)
    yield from _messages(job)
    yield f"Numbers of segments that are tried: {', '.join(map(str, job.segments.clusters))}"
    yield f"Results go to {job.locate(job.output.folder)}"
    yield "Nothing is wrong with it"


def _personality(job: JobFile) -> Iterator[str]:
    if job.personality is None:
        return
    declared = job.personality
    yield f"Estimates personality for: {declared.purpose} (legal basis: {declared.legal_basis}). {NOT_FOR}"
    for name, purpose in declared.opt_in.items():
        yield f"  counts although sensitive: {name} (purpose: {purpose})"


def _messages(job: JobFile) -> Iterator[str]:
    if job.messages is None:
        return
    *groups, fallback = job.messages.names()
    often = job.messages.review
    when = often if isinstance(often, str) else f"on {len(often)} declared days"
    yield f"Message groups by {job.messages.by}, reviewed {when}: {', '.join(groups)}; all others: {fallback}"
    if job.messages.by == "personality" and job.personality is not None:
        model = personality_plan(job.personality, job.locate)[1]
        able = measurable_at_most(model.weights, model.categories.categories)
        lacking = [name for name in dict.fromkeys(job.messages.asked()) if name not in able]
        if lacking:
            yield f"  nobody's {' and '.join(lacking)} can be measured with these weights: all will be in {fallback}"


def _sensitive(sample: Sample) -> Iterator[str]:
    opted = [name for name in sample.job.sensitive.opt_in if name in KINDS or name in sample.categories]
    _, excluded = allowed_categories(sample.categories, opted)
    reasons: dict[str, list[str]] = {}
    for name, reason in excluded.items():
        reasons.setdefault(reason, []).append(name)
    yield from (f"Kept out: {', '.join(names)} ({reason})" for reason, names in reasons.items())
    if opted:
        yield f"Opted in: {', '.join(opted)} (purpose: {sample.job.sensitive.purpose})"
