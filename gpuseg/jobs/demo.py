"""The demo (jobs; for ``gpuseg demo``): a year of real household transactions to described segments and a report."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

from gpuseg import datasets
from gpuseg.customers.outliers import OutlierRule
from gpuseg.customers.reading.transactions import read_transactions
from gpuseg.insight.answer import Asked
from gpuseg.insight.outcome import read_outcome
from gpuseg.insight.words import Wording
from gpuseg.jobs.declared.message_section import Messages
from gpuseg.jobs.declared.personality_section import Personality
from gpuseg.jobs.erasing.suppression import load_suppression
from gpuseg.jobs.finishing import Occasion, RunResult, write_run
from gpuseg.jobs.message_plan import message_plan
from gpuseg.jobs.output import RunFolder
from gpuseg.jobs.personality_plan import ToScore, personality_plan
from gpuseg.jobs.pipeline import segment_customers
from gpuseg.jobs.progress import Progress
from gpuseg.jobs.reporting import Words
from gpuseg.jobs.settings import Settings
from gpuseg.jobs.stages import Stages

SOURCE = "The Complete Journey: households of a grocery chain"
YEAR = ("2017-01-01", "2017-12-31")
FEATURES_UNTIL = "2017-08-31"
WINDOW = ("2017-09-01", "2017-12-31")
SETTINGS = Settings(
    n_categories=5,
    outliers=OutlierRule("winsorise"),
    as_of=FEATURES_UNTIL,
    coverage=YEAR,
    lookback=31,
    min_size=100,
    max_share=0.5,
    n_boot=20,
)
"""The five largest departments, without the drugstore, which is sensitive, have most of a household's spend; a share of
a smaller one is mostly zeros, and its few heavy buyers would become a segment of their own. The records cover 2017.
They begin in January, and 80 % of the households with them: those are no acquisition cohort. Features end where the
outcome's window begins; a segment that a mailing is planned for needs 100 households, and one that holds half of all
would decide nothing. One household in nine lies more than three standard deviations out in some feature, most in
coupons: kept as they are, the segments hang on the seed (k of 3, 4 or 6, and not always a group of coupon users);
pulled in, six seeds out of six give the same four, with the same answer."""

MESSAGES = Messages(
    thresholds={
        "reduced goods": {"deal_responsive": (0.19, None)},
        "own label": {"own_label": (0.36, None)},
        "full trips": {"planned": (0.7, None)},
    },
    review="monthly",
)
"""Each bound takes about a quarter of the households; whoever is within none, or has fewer than ten baskets, gets the
letter as it is."""

PERSONALITY = Personality(
    purpose="to show what the receipts of a grocery can tell of personality, and what they cannot",
    legal_basis="public, anonymised research data; nobody is contacted",
    categories="complete_journey",
    column="product_category",
)
"""Hardly a fiftieth of what these households spend is in categories of the studies: the demo has honest nulls."""

_DEPARTMENTS = {
    "DELI": "deli",
    "DRUG GM": "drugstore and general goods",
    "FUEL": "fuel",
    "GROCERY": "grocery",
    "MEAT": "meat",
    "MEAT-PCKGD": "packaged meat",
    "MISCELLANEOUS": "miscellaneous",
    "PRODUCE": "produce",
}
_WORDING = Wording("household", "households", "department", "departments", "$", _DEPARTMENTS)

WORDS = Words(
    title="Who should get the next coupon mailing?",
    question=(
        "A grocery chain mails coupons to some of its households. Which group should it try next, judged by who of "
        "those mailed from September to December 2017 redeemed a coupon?"
    ),
    decision="Which households to put on the list for the next coupon mailing.",
)


def run_demo(out: Path | None, progress: Progress) -> RunResult:
    """Segment the households of the Complete Journey and write the results.

    Parameters
    ----------
    out : Path or None
        New folder for the results; None for ``runs/demo-<UTC time>`` under the working directory.
    progress : Progress
        Told of every stage.

    Returns
    -------
    RunResult
        Where the results are and what they say.

    Raises
    ------
    InputError
        The demo data are not installed or cannot be used.
    OutputError
        The results cannot be written; nothing is left behind.
    """
    started = datetime.now(UTC)
    stages = Stages(progress)
    listed = Path("runs") / "demo"
    erased = load_suppression(listed)
    with ExitStack() as until_published, RunFolder(out, "demo", started) as folder:
        with stages.stage("read transactions") as stage:
            roles: dict[str, Any] = dict(datasets.COMPLETE_JOURNEY_ROLES)
            tx = read_transactions(datasets.complete_journey(), **roles, erased=erased.blocked)
            stage.add_rows(tx.n_rows or 0)
        with stages.stage("read the outcome") as stage:
            asked = coupon_mailing()
            stage.add_rows(len(asked.outcome.happened))
        plan, model = personality_plan(PERSONALITY, str)
        with stages.stage("read spend categories") as stage:
            products = {**roles, "category": PERSONALITY.column}
            bought = read_transactions(datasets.complete_journey(), **products, erased=erased.blocked)
            stage.add_rows(bought.n_rows or 0)
        settings = replace(demo_settings(), personality=plan)
        found = segment_customers(
            tx, settings, stages, _WORDING, asked, to_score=ToScore(plan, model, bought)
        )
        consent = {"not_recorded": "public research data without a consent column"}
        occasion = Occasion("demo", WORDS, SOURCE, _WORDING, started, consent)
        said = write_run(folder, found, occasion, stages, listed, erased, until_published)
    return RunResult(folder.path, said)


def demo_settings() -> Settings:
    """The choices of the demo, with the message modules that ship with the package."""
    with resources.as_file(resources.files("gpuseg") / "data" / "demo_messages.json") as modules:
        return replace(SETTINGS, messages=message_plan(MESSAGES, modules))


def coupon_mailing() -> Asked:
    """Who was mailed a campaign in the window of the outcome, and who redeemed a coupon there.

    Raises
    ------
    SourceError
        The demo data are not installed.
    """
    mailed = datasets.complete_journey_table("campaigns").join(
        datasets.complete_journey_table("campaign_descriptions"), "campaign_id"
    )
    outcome = read_outcome(
        datasets.complete_journey_table("coupon_redemptions"),
        mailed,
        window=WINDOW,
        customer="household_id",
        event_time="redemption_date",
        contact_start="start_date",
        contact_end="end_date",
        coverage=YEAR,
        features_until=FEATURES_UNTIL,
    )
    return Asked(outcome, did="redeemed a coupon", contacted="mailed", act="mail")
