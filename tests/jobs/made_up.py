"""A small run of the main job on made-up customers, for the tests of pipeline, report and writing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gpuseg import datasets
from gpuseg.customers.reading.transactions import read_transactions
from gpuseg.insight.answer import Asked
from gpuseg.insight.outcome import Outcome
from gpuseg.insight.report import Report
from gpuseg.insight.words import Wording
from gpuseg.jobs import reporting
from gpuseg.jobs.pipeline import Segmentation, segment_customers
from gpuseg.jobs.progress import SilentProgress
from gpuseg.jobs.reporting import Words
from gpuseg.jobs.settings import Settings
from gpuseg.jobs.stages import Stages

STARTED = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
SETTINGS = Settings(
    clusters=(2, 3, 4, 5), n_categories=4, coverage=("2023-01-01", "2023-12-31"), lookback=31, max_share=0.3
)
WORDING = Wording("member", "members", "aisle", "aisles", "€", {"PANTRY": '<b>pantry</b> & "more"'})
ROLES = {
    "customer": "customer",
    "time": "time",
    "amount": "amount",
    "basket": "basket",
    "quantity": "quantity",
    "category": "department",
    "discount": "discount",
    "coupon": "coupon",
    "own_label": "own_label",
    "time_zone": "Europe/Paris",
}


def table(n_customers: int = 160) -> pa.Table:
    """Transactions of customers in four planted groups, text for keys; some came in March, June or September."""
    records = datasets.make_transactions(n_customers, seed=3, text_keys=True)[0]
    number = pc.cast(pc.utf8_slice_codeunits(records["customer"], 1), pa.int64()).to_numpy()
    start = np.where(number % 8 == 0, 3, np.where(number % 8 == 1, 6, np.where(number % 40 == 5, 9, 1)))
    return records.filter(pa.array(pc.month(records["time"]).to_numpy() >= start))


def run(records: pa.Table, settings: Settings = SETTINGS) -> Segmentation:
    """The whole job, without writing."""
    tx = read_transactions(records, **ROLES)
    return segment_customers(tx, settings, Stages(SilentProgress()), WORDING)


@cache
def found() -> Segmentation:
    """The run that most tests look at."""
    return run(table())


def asked() -> Asked:
    """An outcome that two thirds of the second planted group have, and a third of others; 40 were not contacted."""
    numbers = range(1, 161)
    contacted = [f"C{number:05d}" for number in numbers if number > 40]
    happened = [f"C{n:05d}" for n in numbers if n > 40 and (n % 4 == 2) != (n % 3 == 0)]
    keys = [pa.array(names, pa.large_string()) for names in (contacted, happened)]
    window = (date(2024, 1, 1), date(2024, 1, 31))
    return Asked(Outcome(window, *keys, 0), did="bought a ticket", contacted="invited", act="invite")


@cache
def answered() -> Segmentation:
    """The same run for a decision, with stability."""
    tx = read_transactions(table(), **ROLES)
    settings = replace(SETTINGS, clusters=(4, 5), n_boot=3, min_size=10)
    return segment_customers(tx, settings, Stages(SilentProgress()), WORDING, asked())


def report_of(done: Segmentation, decision: str | None = None) -> Report:
    """What the report of such a run says."""
    words = Words("Which members shop alike?", "Groups of members that behave alike.", decision)
    return reporting.report_of(done, words, "Made-up members", STARTED, WORDING)
