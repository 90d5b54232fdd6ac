"""The sections of a job file (jobs, called by job_file): one model each, with what a reader of the file is told."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainValidator,
    StringConstraints,
    Tag,
    model_validator,
)

from gpuseg.customers.outliers import LIMITS, OutlierRule
from gpuseg.customers.reading.dialect import CsvDialect
from gpuseg.customers.sensitive import KINDS
from gpuseg.jobs.declared.job_problems import refuse

FIRST_YEAR, LAST_YEAR = 1900, 2199
"""Years of commerce: any other is taken for an error of entry."""

MOST_CATEGORIES = 200

Action = Literal["flag", "winsorise", "drop"]
"""What becomes of extreme customers."""

Scalar = str | int | float | bool

Use = Literal["build", "describe", "protected", "ignore"]
"""What a column may do: build segments, describe them, neither (protected: not even be looked at), or nothing."""

SegmentationType = Literal[
    "demographic", "behavioural", "attitudinal", "needs-based", "technographic", "mixed"
]
KindOfColumn = Literal["demographic", "attitudinal", "needs-based", "technographic"]


def _day(value: Any) -> Any:
    """A calendar day from a YAML date or text."""
    if isinstance(value, dt.datetime) and value.time() == dt.time(0) and value.tzinfo is None:
        value = value.date()
    try:
        found = dt.date.fromisoformat(value) if isinstance(value, str) and len(value) == 10 else value
    except ValueError:
        found = None
    if not isinstance(found, dt.date) or isinstance(found, dt.datetime):
        raise ValueError(f"{value!r} is no calendar day; write it as 2024-12-31")  # noqa: TRY004 (pydantic's rule)
    if not FIRST_YEAR <= found.year <= LAST_YEAR:
        raise ValueError(f"{found} lies before {FIRST_YEAR} or after {LAST_YEAR}; is it an error of entry?")
    return found


def _in_order(window: tuple[dt.date, dt.date]) -> tuple[dt.date, dt.date]:
    if window[0] > window[1]:
        raise ValueError(
            f"the first day, {window[0]}, comes after the last, {window[1]}; write [first, last]"
        )
    return window


def _one_as_list(value: Any) -> Any:
    return [value] if isinstance(value, int) and not isinstance(value, bool) else value


def _path_as_section(value: Any) -> Any:
    return {"path": value} if isinstance(value, str) else value


def _action_as_section(value: Any) -> Any:
    return {"action": value} if isinstance(value, str) else value


def _categories(value: Any) -> int | tuple[str, ...]:
    """A number of categories, or their names."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_CATEGORIES:
        return value
    if isinstance(value, (list, tuple)) and all(isinstance(name, str) and name for name in value):
        return tuple(dict.fromkeys(value))
    raise ValueError(
        f"{value!r} is neither a number from 0 to {MOST_CATEGORIES} nor a list of names; put names that are numbers "
        "between quotes"
    )


def _choice(value: Any) -> tuple[Scalar, ...]:
    """One value or several, each text, a number or a flag."""
    values = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    if not values or not all(isinstance(one, (str, int, float, bool)) for one in values):
        raise ValueError(f"{value!r} is neither a value nor a list of values")
    return values


Text = Annotated[str, StringConstraints(min_length=1)]
Day = Annotated[dt.date, BeforeValidator(_day, json_schema_input_type=dt.date)]
Window = Annotated[tuple[Day, Day], AfterValidator(_in_order)]


Categories = Annotated[
    int | tuple[str, ...], PlainValidator(_categories, json_schema_input_type=int | list[str])
]
Choice = Annotated[tuple[Scalar, ...], PlainValidator(_choice, json_schema_input_type=Scalar | list[Scalar])]


class Section(BaseModel):
    """A section: frozen, and no key that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Job(Section):
    """What the job is called."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] = Field(
        description="Names the result folder: letters, digits, - _ and ."
    )
    title: Text | None = Field(None, description="The question that the report answers, as its title.")


class Csv(Section):
    """How CSV files are written. What is in another form is a problem, never a guess."""

    separator: Text | None = Field(None, description="One mark; by default a comma, in .tsv files a tab.")
    decimal: Literal[".", ","] = Field(".", description="The mark before the fraction of a number.")
    thousands: Literal[".", ",", " ", "'"] | None = Field(
        None, description="The mark between groups of three digits, if there is one."
    )
    encoding: Text = Field("utf-8", description="utf-8, cp1252, latin-1, utf-16 ...")
    header: bool = Field(
        True, description="Whether the first line names the columns; else column_1, column_2 ..."
    )
    day_first: bool | None = Field(
        None, description="Whether 3/4/2024 is 3 April (true) or 4 March (false); leave out for 2024-04-03."
    )
    time_format: Text | None = Field(None, description="The form of all times, such as '%d.%m.%y %H:%M'.")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        self.dialect()  # an InputError is a ValueError: pydantic lists it
        return self

    def dialect(self) -> CsvDialect:
        """The same as the reader's record."""
        return CsvDialect(**self.model_dump())


class Source(Section):
    """Where records are."""

    path: Text = Field(description="A file, a folder or a glob; from the folder of this job file. Or a URL.")
    format: Literal["parquet", "csv"] | None = Field(
        None, description="By default as the names of the files end."
    )
    csv: Csv | None = Field(None, description="How CSV files are written.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.format == "parquet" and self.csv is not None:
            refuse(["format is parquet, and there is a csv section; leave one of them out"])
        return self

    def dialect(self) -> CsvDialect | None:
        """How the text is to be read; None where the names of the files decide."""
        if self.csv is None:
            return CsvDialect() if self.format == "csv" else None
        return self.csv.dialect()


PathOrSource = Annotated[Source, BeforeValidator(_path_as_section, json_schema_input_type=str | Source)]


class Roles(Section):
    """Which column plays which role."""

    customer: Text = Field(description="Column with the key of the customer; leading zeros are kept.")
    time: Text = Field(description="Column with the time or date of the record.")
    amount: Text = Field(description="Column with the money of the line, after discounts (see amount_of).")
    basket: Text | None = Field(None, description="Column with the number of the receipt.")
    quantity: Text | None = Field(None, description="Column with the number of pieces.")
    product: Text | None = Field(None, description="Column with the key of the product.")
    category: Text | None = Field(
        None, description="Column with the spend category, a name or a merchant code."
    )
    discount: Text | None = Field(None, description="Column with the money taken off, positive.")
    coupon: Text | None = Field(None, description="Column with the money paid by coupon, positive.")
    own_label: Text | None = Field(
        None, description="Column that says whether the product is of the own label."
    )
    currency: Text | None = Field(None, description="Column with the currency; two of them are refused.")

    def declared(self) -> dict[str, str]:
        """Role to column, only those that are played."""
        return {role: column for role, column in self if column is not None}


class Constant(Section):
    """A value that stands for missing ones."""

    constant: Scalar = Field(description="The value.")


class Column(Section):
    """What an attribute column may do, and what its values mean."""

    use: Use = Field(description="build, describe, protected or ignore.")
    kind: Literal["number", "category"] | None = Field(
        None, description="What its values are; by default numbers, where all of them are."
    )
    missing: Literal["error", "fallback", "median", "indicator"] | Constant = Field(
        "error",
        description="What becomes of customers without a value, where it builds: stop; not placed; the median; told "
        "apart by a column of their own; or {constant: a value}.",
    )
    log: bool = Field(False, description="Take ln(1 + x) of a number that builds: for money and counts.")
    type: KindOfColumn | None = Field(
        None, description="What kind of knowledge it is; it has to fit segmentation_type."
    )


def _form_of_column(value: Any) -> str:
    return "[section]" if isinstance(value, (dict, Column)) else "[use]"


ColumnUse = Annotated[
    Annotated[Use, Tag("[use]")] | Annotated[Column, Tag("[section]")], Discriminator(_form_of_column)
]
"""A word, or a section where there is more to say."""


class Customers(Section):
    """A table of customers: one row each, with what they are."""

    source: PathOrSource = Field(description="Where it is: a path, or a section like the job's own source.")
    customer: Text = Field(description="Column with the key of the customer.")


class Sensitive(Section):
    """Sensitive spend that may build, name and explain segments all the same."""

    opt_in: tuple[Text, ...] = Field((), description=f"Kinds ({', '.join(KINDS)}) or names of categories.")
    purpose: Text | None = Field(None, description="Why; needed for any opt-in.")

    @model_validator(mode="after")
    def _has_purpose(self) -> Self:
        if self.opt_in and self.purpose is None:
            refuse(["opt_in needs a purpose: say in a sentence why sensitive spend may be used"])
        return self


class Consent(Section):
    """Whether customers agreed to profiling: a column, or the reason why it is not recorded."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["column", "purpose"]}, {"required": ["not_recorded"]}]}
    )

    column: Text | None = Field(
        None, description="Column that is true where the customer agreed; other rows go."
    )
    purpose: Text | None = Field(None, description="What the customers agreed to.")
    not_recorded: Text | None = Field(None, description="Why there is no such column.")

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        problems = []
        if (self.column is None) == (self.not_recorded is None):
            problems.append(
                "say either column (and its purpose) or not_recorded (and the reason), one of the two"
            )
        if self.column is not None and self.purpose is None:
            problems.append("column needs a purpose: what did the customers agree to?")
        if self.column is None and self.purpose is not None:
            problems.append("purpose goes with a column")
        refuse(problems)
        return self


class Outcome(Section):
    """Who did what the decision is about."""

    source: PathOrSource = Field(
        description="Where the events are: a path, or a section like the job's own source. The path of the "
        "records reads them as that section says."
    )
    customer: Text = Field(description="Column with the key of the customer.")
    time: Text = Field(description="Column with the time of the event.")
    filter: dict[Text, Choice] = Field(
        default_factory=dict, description="Only rows with this value, or one of these values, in a column."
    )
    name: Text = Field(
        "had the outcome", description="What the customers did, in words: 'redeemed a coupon'."
    )


class ContactFilter(Section):
    """Who was contacted in the outcome window; rates are of those."""

    source: PathOrSource = Field(
        description="Where the contacts are: a path, or a section like the job's source."
    )
    customer: Text = Field(description="Column with the key of the customer.")
    time: Text | None = Field(None, description="Column with the time of the contact.")
    start: Text | None = Field(None, description="Column with the first day of the campaign.")
    end: Text | None = Field(None, description="Column with its last day.")
    filter: dict[Text, Choice] = Field(
        default_factory=dict, description="Only rows with this value, or one of these values, in a column."
    )

    @model_validator(mode="after")
    def _one_clock(self) -> Self:
        both = self.start is not None and self.end is not None
        neither = self.start is None and self.end is None
        if not (both and self.time is None) and not (neither and self.time is not None):
            refuse(["say either time, or start and end: columns with the time or the days of the contact"])
        return self


class UseCase(Section):
    """The one decision that the segments serve."""

    objective: Text = Field(description="What the decision is to achieve.")
    decision: Text = Field(description="The decision itself: who does what to whom.")
    owner: Text | None = Field(None, description="Who decides.")
    outcome: Outcome | None = Field(
        None, description="What tells that it worked; without it nothing is measured."
    )
    features_until: Day | None = Field(None, description="Last day that counts in features.")
    outcome_window: Window | None = Field(
        None, description="[first, last] day of the outcome, after features_until."
    )
    validation_window: Window | None = Field(
        None,
        description="[first, last] day of the outcome by which the number of segments is chosen, between "
        "features_until and outcome_window; without it outcome_window chooses too.",
    )
    contact_filter: ContactFilter | None = Field(
        None, description="Whom rates are of; without it, everybody."
    )
    min_size: Annotated[int, Field(ge=1)] | None = Field(None, description="Customers that a segment needs.")
    max_share: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="Share of the customers that a segment may have."
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        problems = []
        needs = {"features_until": self.features_until, "outcome_window": self.outcome_window}
        if self.outcome is not None:
            problems += [f"an outcome needs {name}" for name, value in needs.items() if value is None]
        if self.outcome is None and self.outcome_window is not None:
            problems.append(
                "outcome_window without an outcome: say where the outcome is, or leave the window out"
            )
        if self.outcome is None and self.contact_filter is not None:
            problems.append("contact_filter without an outcome: rates of those contacted need an outcome")
        until, window = self.features_until, self.outcome_window
        if until is not None and window is not None and window[0] <= until:
            problems.append(
                f"the outcome window begins on {window[0]}, not after features_until, {until}: features would know "
                "the outcome; begin it a day later at least"
            )
        refuse(problems + self._validation_problems())
        return self

    def _validation_problems(self) -> list[str]:
        """A window that chooses lies between what features know and what is reported."""
        window, until, reported = self.validation_window, self.features_until, self.outcome_window
        if window is None:
            return []
        problems = []
        if self.outcome is None:
            problems.append(
                "validation_window without an outcome: there is nothing to choose by; leave the window out"
            )
        if until is not None and window[0] <= until:
            problems.append(
                f"the validation window begins on {window[0]}, not after features_until, {until}: features would know "
                "the outcome that chooses; begin it a day later at least"
            )
        if reported is not None and window[1] >= reported[0]:
            problems.append(
                f"the validation window ends on {window[1]}, not before the outcome window begins, {reported[0]}: the "
                "outcome that is reported would have helped to choose; end it a day earlier at least"
            )
        return problems


class Features(Section):
    """What segments are built from."""

    categories: Categories = Field(
        8, description="How many categories get a share of their own, the largest first; or their names."
    )
    as_of: Day | None = Field(
        None, description="Last day that counts; by default the last day with a record."
    )


class Segments(Section):
    """How many segments, and the draw."""

    clusters: Annotated[
        tuple[Annotated[int, Field(ge=2, le=100)], ...],
        BeforeValidator(_one_as_list, json_schema_input_type=int | list[int]),
        Field(min_length=1),
    ] = Field((3, 4, 5, 6, 7, 8), description="The numbers of segments to try.")
    seed: Annotated[int, Field(ge=0, lt=1 << 32)] = Field(0, description="Of every random draw.")

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len(set(self.clusters)) != len(self.clusters):
            refuse(["clusters names a number twice"])
        return self


class Outliers(Section):
    """Extreme customers: who they are, and what becomes of them."""

    action: Action = Field(
        "flag",
        description="flag: keep and mark them; winsorise: pull them in to the bound; drop: leave them out of the fit.",
    )
    rule: Literal["zscore", "iqr", "mad"] = Field(
        "zscore",
        description="What the bounds are reckoned from: mean and standard deviation, quartiles, or median and MAD.",
    )
    limit: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        None,
        description="Standard deviations (by default 3), interquartile ranges (1.5), or 1.4826 MAD (3.5) to the bound.",
    )

    def as_rule(self) -> OutlierRule:
        """The same as the record of the customers' room, with the usual limit where none is said."""
        return OutlierRule(self.action, self.rule, LIMITS[self.rule] if self.limit is None else self.limit)


ActionOrOutliers = Annotated[
    Outliers, BeforeValidator(_action_as_section, json_schema_input_type=Action | Outliers)
]


class Cohorts(Section):
    """Cohorts by the period of the first purchase."""

    period: Literal["day", "week", "month", "quarter"] = Field("month", description="Length of a period.")
    coverage: Window | None = Field(None, description="[first, last] day that the records cover completely.")
    lookback: Annotated[int, Field(ge=0, le=36_525)] = Field(
        0, description="Days after the start of coverage in which nobody is taken for a new customer."
    )


class Words(Section):
    """What this business calls its things: words only, no figure depends on them."""

    customer: Text = Field("customer", description="One customer.")
    customers: Text = Field("customers", description="Several customers.")
    category: Text = Field("category", description="One spend category.")
    categories: Text = Field("categories", description="Several of them.")
    currency: str = Field("", description="Sign before an amount.")
    category_names: dict[Text, Text] = Field(default_factory=dict, description="Plain names of categories.")


class Output(Section):
    """Where results go."""

    folder: Text = Field(
        "runs", description="Result folders are made in it; from the folder of this job file."
    )
