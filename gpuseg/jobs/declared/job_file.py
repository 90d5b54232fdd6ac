"""The job file (jobs; for the commands of the command line): what a run reads, may use, decides and writes.

A job file is YAML of one shape, :class:`JobFile`; :func:`read_job` reads it and lists every problem at once. Its JSON
Schema ships with the package (``gpuseg/data/job.schema.json``) and so does one complete example.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PrivateAttr, ValidationError, field_validator, model_validator

from gpuseg.customers.reading import local_time
from gpuseg.customers.reading.dialect import CsvDialect
from gpuseg.customers.reading.reader import Erased
from gpuseg.customers.reading.sources import column_names
from gpuseg.customers.reading.transactions import Transactions, read_transactions
from gpuseg.errors import SchemaError, SourceError
from gpuseg.jobs.consents import consented_by_table
from gpuseg.jobs.declared.job_problems import nearest, problem_sentences, refuse
from gpuseg.jobs.declared.job_sections import (
    ActionOrOutliers,
    Cohorts,
    Column,
    ColumnUse,
    Consent,
    Customers,
    Features,
    Job,
    Outliers,
    Output,
    PathOrSource,
    Roles,
    Section,
    SegmentationType,
    Segments,
    Sensitive,
    Source,
    Use,
    UseCase,
    Words,
)
from gpuseg.jobs.declared.job_yaml import read_yaml
from gpuseg.jobs.declared.message_section import Messages
from gpuseg.jobs.declared.personality_section import Personality

_REQUIRED_ROLES = ("customer", "time", "amount")


class JobFile(Section):
    """A job: which records, who may be profiled on what, which decision, which choices.

    Frozen. Made by :func:`read_job`; paths in it are relative to the folder of the file (:meth:`locate`).
    """

    version: Literal[1] = Field(description="The version of this format: 1.")
    job: Job = Field(description="What the job is called.")
    source: PathOrSource = Field(description="Where the records are: a path, or a section.")
    roles: Roles = Field(description="Which column plays which role; customer, time and amount are needed.")
    time_zone: str | None = Field(
        None, description="The calendar in which days are counted; needed where times carry no zone."
    )
    naive: Literal["utc", "local"] = Field(
        "utc", description="What times without a zone show: UTC, or the wall clock of time_zone (local)."
    )
    minor_units: Annotated[int, Field(ge=0, le=6)] = Field(2, description="Decimals of the currency.")
    amount_of: Literal["line", "piece"] = Field(
        "line",
        description="Whether amount is the money of the line, or the price of one piece, times quantity.",
    )
    bad_rows: Literal["error", "reject"] = Field(
        "error",
        description="Rows that cannot be used stop the run, or are left out, counted and listed in rejects.parquet.",
    )
    columns: dict[str, ColumnUse] = Field(
        default_factory=dict, description="What a column may do, where it is not the usual."
    )
    customers: Customers | None = Field(
        None, description="A table of customers with columns that say what they are."
    )
    sensitive: Sensitive = Field(
        default_factory=Sensitive, description="Sensitive spend that may be used all the same."
    )
    consent: Consent = Field(
        description="{column: ..., purpose: ...}, or {not_recorded: the reason why there is none}."
    )
    segmentation_type: SegmentationType = Field(
        "behavioural",
        description="Which kind of columns may build segments: records of purchases are behavioural.",
    )
    use_case: UseCase | None = Field(
        None, description="The decision; without it the segmentation is generic."
    )
    features: Features = Field(default_factory=Features, description="What segments are built from.")
    segments: Segments = Field(default_factory=Segments, description="How many, and the draw.")
    cohorts: Cohorts = Field(default_factory=Cohorts, description="Cohorts by the first purchase.")
    outliers: ActionOrOutliers = Field(
        default_factory=Outliers,
        description="What becomes of extreme customers: flag, winsorise or drop, or a section.",
    )
    personality: Personality | None = Field(
        None,
        description="Estimated traits; nobody is scored unless a purpose and a legal basis are declared.",
    )
    messages: Messages | None = Field(
        None, description="Which message each customer gets; without it nobody is given any."
    )
    min_cell: Annotated[int, Field(ge=1)] = Field(
        10, description="Smaller groups are not shown, nor what would tell of them by subtraction."
    )
    words: Words = Field(default_factory=Words, description="What this business calls its things.")
    output: Output = Field(default_factory=Output, description="Where results go.")

    _folder: Path = PrivateAttr(default_factory=Path)

    def model_post_init(self, context: Any, /) -> None:
        """Keep the folder that relative paths start from."""
        self._folder = (context or {}).get("folder", Path())

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, name: str | None) -> str | None:
        return None if name is None else local_time.check_zone(name)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = self._column_problems()
        if self.naive == "local" and self.time_zone is None:
            problems.append("naive: local needs a time_zone, the one whose wall clock the times show")
        if self.amount_of == "piece" and "quantity" not in self.used_roles():
            problems.append("amount_of: piece needs the role quantity, which the price is multiplied with")
        problems += self._personality_problems()
        until = self.use_case.features_until if self.use_case else None
        if until is not None and self.features.as_of not in {None, until}:
            problems.append(
                f"features.as_of is {self.features.as_of} and use_case.features_until is {until}; leave as_of out"
            )
        refuse(problems)
        return self

    def _personality_problems(self) -> Iterator[str]:
        """Messages by scores that nobody makes, and scores of a column that may not be read."""
        if self.personality is None:
            if self.messages is not None and self.messages.by == "personality":
                yield (
                    "messages.by is personality, and nobody is scored: declare a section personality with a purpose "
                    "and a legal_basis, or choose by styles"
                )
            return
        column = self.personality.column or self.used_roles().get("category")
        if column is None:
            yield "personality needs spend categories: give a column the role category, or name personality.column"
        elif self.use_of(column) not in _READ and (column in self.columns or self.personality.column is None):
            yield f"personality.column: {column!r} is {self.use_of(column)}, and is not read; name another column"
        if column is not None and column in {self.roles.declared()[role] for role in _REQUIRED_ROLES}:
            yield f"personality.column: {column!r} is no category: it plays another role"

    def _column_problems(self) -> list[str]:
        roles = self.roles.declared()
        problems = []
        played = list(roles.values()) + ([self.consent.column] if self.consent.column else [])
        for column, uses in Counter(played).items():
            if uses > 1:
                problems.append(
                    f"the column {column!r} plays several roles; one column may play one role only"
                )
        for role in _REQUIRED_ROLES:
            use = self.use_of(roles[role])
            if use != "build":
                problems.append(
                    f"columns: {roles[role]!r} is the {role}, without which there is no segment; not {use}"
                )
        problems += self._attribute_problems(roles)
        builders = [column for column in self.attributes() if self.use_of(column) == "build"]
        if self.segmentation_type == "behavioural" and builders:
            problems.append(
                f"segmentation_type is behavioural, and columns lets {', '.join(map(repr, builders))} build, which is "
                "no role: it describes customers; let it describe, or make the type mixed"
            )
        if self.segmentation_type not in {"behavioural", "mixed"} and not builders:
            problems.append(
                f"segmentation_type is {self.segmentation_type}, and only roles build, which are behavioural; name the "
                "columns that build, or make the type behavioural"
            )
        return problems

    def _attribute_problems(self, roles: dict[str, str]) -> Iterator[str]:
        for role, name in roles.items():
            given = self.columns.get(name)
            if isinstance(given, Column) and given != Column(use=given.use):
                yield f"columns: {name!r} plays the role {role}; say only what it may do, such as {given.use}"
        for name in self.attributes():
            column = self.column(name)
            if "=" in name and column.use in _READ:
                yield f"columns: {name!r} has = in its name, which parts names from levels; rename it"
            told = column.type if self.segmentation_type != "mixed" else None
            if column.use == "build" and told not in {None, self.segmentation_type}:
                yield (
                    f"columns: {name!r} is {column.type}, and segmentation_type is {self.segmentation_type}; let it "
                    "describe, or make the type mixed"
                )

    @property
    def as_of(self) -> dt.date | None:
        """Last day that counts in features; None: the last day with a record."""
        until = self.use_case.features_until if self.use_case else None
        return until or self.features.as_of

    def locate(self, path: str) -> str:
        """A path of the job file from where it is; URLs and absolute paths stay."""
        if "://" in path or Path(path).is_absolute():
            return path
        return str(self._folder / path)

    def dialect_of(self, source: Source) -> CsvDialect | None:
        """How the text of another table is to be read: as its section says; the records' own file, as the records."""
        plain = source.csv is None and source.format is None
        same = plain and self.locate(source.path) == self.locate(self.source.path)
        return (self.source if same else source).dialect()

    def used_roles(self) -> dict[str, str]:
        """Role to column, without the columns that are protected or ignored: those are never read."""
        return {
            role: column for role, column in self.roles.declared().items() if self.use_of(column) in _READ
        }

    def use_of(self, column: str) -> Use:
        """What a column may do: as declared; else a role builds, and any other column is ignored."""
        usual: Use = "build" if column in self.roles.declared().values() else "ignore"
        found = self.columns.get(column, usual)
        return found.use if isinstance(found, Column) else found

    def column(self, name: str) -> Column:
        """All that is declared of a column."""
        found = self.columns.get(name)
        return found if isinstance(found, Column) else Column(use=self.use_of(name))

    def attributes(self) -> tuple[str, ...]:
        """Declared columns that play no role."""
        played = {*self.roles.declared().values(), self.consent.column}
        return tuple(column for column in self.columns if column not in played)

    @property
    def attributes_only(self) -> bool:
        """Whether only what customers are builds segments, and what they do describes them."""
        return self.segmentation_type not in {"behavioural", "mixed"}

    def read_attributes(self) -> tuple[str, ...]:
        """Declared columns that play no role and may build or describe: those that are read."""
        return tuple(name for name in self.attributes() if self.use_of(name) in _READ)

    def columns_of_customers(self) -> list[str]:
        """Columns of the table of customers; only its header is read.

        Raises
        ------
        SourceError
            There is no such table.
        """
        if self.customers is None:
            return []
        with job_words("customers.source"):
            return column_names(
                self.locate(self.customers.source.path), self.dialect_of(self.customers.source)
            )

    def consent_is_in_customers(self) -> bool:
        """Whether the table of customers says who agreed, and the records do not."""
        column = self.consent.column
        if column is None or self.customers is None or column not in self.columns_of_customers():
            return False
        with job_words():
            return column not in column_names(self.locate(self.source.path), self.source.dialect())

    def _consent(self) -> dict[str, Any]:
        """Who agreed, as the reader is told: by a column of the records, or by the table of customers."""
        if self.customers is None or self.consent.column is None or not self.consent_is_in_customers():
            return {"consent": self.consent.column}
        table = self.customers
        with job_words("customers.source"):
            path, dialect = self.locate(table.source.path), self.dialect_of(table.source)
            return {"consented": consented_by_table(path, table.customer, self.consent.column, dialect)}

    def _attributes_of_records(self) -> list[str]:
        """The attributes that are read with the records: those that no table of customers has."""
        if self.customers is None:
            return list(self.read_attributes())
        elsewhere = self.columns_of_customers()
        names = [name for name in self.read_attributes() if name not in elsewhere]
        if names:
            with job_words():
                known = column_names(self.locate(self.source.path), self.source.dialect())
            problems = [
                f"columns: {name!r} is in neither table; {nearest(name, list(dict.fromkeys([*elsewhere, *known])))}"
                for name in names
                if name not in known
            ]
            if problems:
                raise SchemaError(f"{self.source.path}, {self.customers.source.path}", problems)
        return names

    def read_records(
        self, head: int | None = None, erased: Erased | None = None, category: str | None = None
    ) -> Transactions:
        """The records as this job declares them; those without consent, or erased, are left out, and counted.

        Parameters
        ----------
        head : int, optional
            Only about so many of the first records of each file.
        erased : callable, optional
            Says of customers' keys who was erased.
        category : str, optional
            Column that plays the role category instead of the declared one.

        Raises
        ------
        SchemaError
            Columns or values do not fit; times carry no zone, and the job states none.
        SourceError
            A file is missing, cut off or empty.
        """
        roles = self.used_roles()
        if category is not None:
            roles = {role: column for role, column in roles.items() if column != category} | {
                "category": category
            }
        options: dict[str, Any] = {**roles, **self._consent()}
        options["attributes"] = self._attributes_of_records()
        with job_words():
            return read_transactions(
                self.locate(self.source.path),
                **options,
                time_zone=self.time_zone,
                naive="error" if self.time_zone is None else self.naive,
                minor_units=self.minor_units,
                on_bad_rows=self.bad_rows,
                amount_of=self.amount_of,
                csv=self.source.dialect(),
                head=head,
                erased=erased,
            )


_READ = ("build", "describe")
_OPTION = re.compile(r"\bcsv=\{'(\w+)': ('[^']*'|\w+)\}")


@contextmanager
def job_words(place: str = "source") -> Iterator[None]:
    """Turn remedies in Python's words into the job file's: csv={'decimal': ','} is source.csv: {decimal: ','}."""
    try:
        yield
    except SchemaError as error:
        raise SchemaError(
            error.where, [_in_job_words(problem, place) for problem in error.problems]
        ) from error
    except SourceError as error:
        raise SourceError(_in_job_words(str(error), place)) from error


def _in_job_words(text: str, place: str) -> str:
    found = _OPTION.sub(
        lambda match: f"{place}.csv: {{{match[1]}: {match[2].replace('True', 'true')}}}", text
    )
    found = re.sub(r" or False\b", " or false", found)
    return found.replace("on_bad_rows='reject'", "bad_rows: reject")


def read_job(path: str | Path) -> JobFile:
    """Read a job file.

    Parameters
    ----------
    path : str or Path
        The YAML file.

    Returns
    -------
    JobFile
        The job; no data has been read.

    Raises
    ------
    SourceError
        There is no such file.
    SchemaError
        It is no job file; every problem is listed, with its line and the remedy.
    """
    file = Path(path)
    written = read_yaml(file)
    try:
        return JobFile.model_validate(written.values, context={"folder": file.parent})
    except ValidationError as error:
        raise SchemaError(str(path), problem_sentences(error, written, JobFile)) from error


def job_schema() -> str:
    """The JSON Schema of a job file, for editors."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "gpuseg job file",
        **{key: value for key, value in JobFile.model_json_schema().items() if key != "title"},
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
