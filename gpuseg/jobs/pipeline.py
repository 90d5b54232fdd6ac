"""The main job, from transactions to described segments (jobs; the demo and, later, job files call it).

Nothing is written here: the result is a record, from which the tables, the report and the manifest are made.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gpuseg.core.promise import Promise
from gpuseg.customers.attributes import AttributeValues
from gpuseg.customers.cohorts import CohortRetention, cohort_retention
from gpuseg.customers.outliers import Outliers
from gpuseg.customers.reading.transactions import Transactions
from gpuseg.errors import InputError
from gpuseg.insight.alternatives import Alternative, alternatives
from gpuseg.insight.answer import Answer, Asked, answer
from gpuseg.insight.certainty import Certainty, segment_certainties
from gpuseg.insight.customer_rows import recipe_of
from gpuseg.insight.measures import measures_of
from gpuseg.insight.messages import EarlierMessages, Messages
from gpuseg.insight.model import FALLBACK_ID, FALLBACK_NAME, SegmentModel, build_model
from gpuseg.insight.profile import Profiles, profile_segments
from gpuseg.insight.style_profile import StyleProfile, style_profiles
from gpuseg.insight.styles import SpendingStyles, spending_styles
from gpuseg.insight.traits import Traits
from gpuseg.insight.withheld import Withheld, withheld
from gpuseg.insight.words import Wording
from gpuseg.jobs.building import FALLBACK_REASON, Built, build
from gpuseg.jobs.message_run import messages_by_scores, messages_by_styles
from gpuseg.jobs.outlier_steps import as_built, other_actions, set_apart
from gpuseg.jobs.personality_plan import ToScore
from gpuseg.jobs.personality_run import score_traits
from gpuseg.jobs.settings import Settings
from gpuseg.jobs.stages import Stages
from gpuseg.jobs.steps import choose, equal_groups, names, number_by_size, numbers
from gpuseg.quality.choose_k import KChoice, effective_number
from gpuseg.quality.silhouette import Silhouettes, silhouettes

Int32 = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Segmentation:
    """Everything that a run found.

    Parameters
    ----------
    tx : Transactions
        The records.
    settings : Settings
        The choices.
    keys : pyarrow.Array
        Customers in the segments, ascending.
    outliers : Outliers
        Of all customers with features: of ``keys``, and of those who were left out.
    unplaced : pyarrow.Table
        The others, in the fallback segment: key, ``fallback_reason``, ``is_outlier``.
    feature_names : tuple of str
        What built the segments.
    facts : dict
        What was decided and counted while the features were made.
    choice : KChoice
        The number of segments, with the evidence.
    segment_ids : ndarray of int32, shape (n,)
        Of each of ``keys``: 1 is the largest segment.
    clusters : dict of int to int
        The model's cluster behind each segment.
    euclidean, squared : Silhouettes
        Of each of ``keys``.
    profiles : Profiles
        The segments in original units.
    names : dict of int to str
        By segment id.
    certainty : Certainty
        How far to trust it.
    retention : CohortRetention
        By period of the first purchase.
    built : pyarrow.Table
        The features of ``keys``, unscaled.
    summary : pyarrow.Table
        Figures of every customer in original units.
    model : SegmentModel
        What assigns new customers.
    alternatives : tuple of Alternative
        How far other choices would agree.
    answer : Answer or None
        What the segments say about the decision.
    kept_out : dict of str to str
        Sensitive categories that count in nothing that tells what customers buy, and why.
    styles : SpendingStyles
        Of each of ``keys``.
    style_profiles : tuple of StyleProfile
        The styles of each segment.
    messages : Messages or None
        The message group of each customer.
    traits : Traits or None
        Estimated traits of each customer.
    """

    tx: Transactions
    settings: Settings
    keys: pa.Array
    outliers: Outliers
    unplaced: pa.Table
    feature_names: tuple[str, ...]
    facts: dict[str, Any]
    choice: KChoice
    segment_ids: Int32
    clusters: dict[int, int]
    euclidean: Silhouettes
    squared: Silhouettes
    profiles: Profiles
    names: dict[int, str]
    certainty: Certainty
    retention: CohortRetention
    built: pa.Table
    summary: pa.Table
    model: SegmentModel
    alternatives: tuple[Alternative, ...]
    answer: Answer | None
    kept_out: dict[str, str]
    styles: SpendingStyles
    style_profiles: tuple[StyleProfile, ...]
    messages: Messages | None = None
    traits: Traits | None = None

    @cached_property
    def withheld(self) -> Withheld:
        """What is not told of the segments wherever it is passed round."""
        return withheld(self.profiles, self.settings.min_cell, self.answer, self.style_profiles)

    def segments_table(self, run_id: str) -> pa.Table:
        """One row a customer, ascending by key: the key with its own name and type, segment, margin, silhouettes."""
        placed = self.model.assign(self.built)
        placed = placed.append_column("silhouette", pa.array(self.euclidean.values))
        placed = placed.append_column("silhouette_squared", pa.array(self.squared.values))
        n_rest = len(self.unplaced)
        known = {
            **{name: _one(self.unplaced[name]) for name in self.unplaced.column_names},
            "segment_id": pa.array([FALLBACK_ID] * n_rest, pa.int32()),
            "segment_name": pa.array([FALLBACK_NAME] * n_rest, pa.string()),
            "is_fallback": pa.array([True] * n_rest, pa.bool_()),
        }
        rest = pa.table({f.name: known.get(f.name, pa.nulls(n_rest, f.type)) for f in placed.schema})
        table = pa.concat_tables([placed.replace_schema_metadata(None), rest.cast(placed.schema)])
        table = table.append_column("run_id", pa.array([run_id] * len(table), pa.string()))
        return table.sort_by(self.tx.roles.customer).combine_chunks().replace_schema_metadata(None)


def segment_customers(
    tx: Transactions,
    settings: Settings,
    stages: Stages,
    wording: Wording,
    asked: Asked | None = None,
    previous: SegmentModel | None = None,
    given: AttributeValues | None = None,
    earlier: EarlierMessages | None = None,
    to_score: ToScore | None = None,
) -> Segmentation:
    """Features, scaling, the choice of k, silhouettes, cohorts, profiles and the answer to the decision.

    Parameters
    ----------
    tx : Transactions
        From files or an Arrow table.
    settings : Settings
        The choices.
    stages : Stages
        Draws and remembers the stages.
    wording : Wording
        What this business calls its things; it changes words, never a figure.
    asked : Asked, optional
        The outcome of the decision, in a window after ``settings.as_of``.
    previous : SegmentModel, optional
        Of an earlier run: segments that are still there keep their ids and names.
    given : AttributeValues, optional
        What a table of customers says of them.
    earlier : EarlierMessages, optional
        Message groups of an earlier run: customers keep them but for review dates and the margin.
    to_score : ToScore, optional
        Whose traits to estimate, and with what; without it nobody is scored.

    Returns
    -------
    Segmentation
        What was found.

    Raises
    ------
    InputError
        The records or the settings cannot be used.
    """
    if tx.kind != "arrow":
        raise InputError(f"{tx.where}: a {tx.kind} frame; a job reads files or an Arrow table")
    with stages.stage("build features") as stage:
        made = build(tx, settings, given)
        stage.add_rows(len(made.features))
    with stages.stage("find outliers") as stage:
        outliers, built = set_apart(made.features, settings)
        stage.add_rows(len(made.features))
    with stages.stage("scale features") as stage:
        scaler, weights, scaled = equal_groups(as_built(built, outliers.bounds))
        stage.add_rows(len(scaled))
    customer = tx.roles.customer
    with stages.stage("choose the number of segments") as stage:
        choice = choose(scaled, settings, None if asked is None else asked.choosing(built[customer]))
        by_size, in_order = number_by_size(np.asarray(choice.model.labels_))
        ids, used_ids = numbers(previous, choice, scaler, in_order)
        segment_ids = np.array([FALLBACK_ID, *ids], np.int32)[by_size]
        clusters = dict(sorted(zip(ids, in_order, strict=True)))
        stage.add_rows(len(scaled))
    with stages.stage("measure silhouettes") as stage:
        euclidean = silhouettes(scaled, segment_ids, metric="euclidean")
        squared = silhouettes(scaled, segment_ids, metric="sqeuclidean")
        stage.add_rows(len(scaled))
    with stages.stage("try other choices") as stage:
        tried = alternatives(
            scaled,
            weights,
            segment_ids,
            choice,
            settings.seed,
            other_actions(made.features, outliers, choice.k),
        )
        stage.add_rows(len(scaled))
    with stages.stage("follow cohorts") as stage:
        retention = cohort_retention(tx, settings.period, settings.coverage, settings.lookback)
        stage.add_rows(retention.n_customers)
    keys = _one(built[customer])
    with stages.stage("describe segments") as stage:
        described, more = made.described(keys, tx.where)
        measures = (*measures_of(described.column_names, wording), *more)
        profiles = profile_segments(described, segment_ids, measures)
        named = names(profiles, previous)
        stage.add_rows(len(described))
    with stages.stage("score spending styles") as stage:
        styles = spending_styles(tx, settings.as_of, opt_in=settings.opt_in)
        stage.add_rows(len(styles.table))
    traits = None if to_score is None else _traits(to_score, styles, stages)
    messages = _messages(settings, styles, traits, stages, earlier)
    found = None if asked is None else _answer(asked, keys, segment_ids, built, stages)
    rates = {} if found is None else {s.segment_id: s.rate.value for s in found.rates.segments if s.rate.base}
    model = build_model(
        choice.model,
        scaler,
        built,
        [(number, named[number], cluster) for number, cluster in clusters.items()],
        recipe=recipe_of(
            tx,
            made.state,
            made.facts,
            settings.as_of,
            settings.reading,
            made.encodings,
            settings.attribute_table,
        ),
        fallback=(FALLBACK_ID, FALLBACK_NAME),
        outcome_rates=rates,
        used_ids=used_ids,
        truths=None if asked is None else asked.truths(keys),
        min_cell=settings.min_cell,
        outliers=outliers.bounds,
    )
    return Segmentation(
        tx=tx,
        settings=settings,
        keys=keys,
        outliers=outliers,
        unplaced=_unplaced(made, outliers),
        feature_names=tuple(name for name in built.column_names if name != customer),
        facts={**made.facts, "constant_features": scaler.constant_features_},
        choice=choice,
        segment_ids=segment_ids,
        clusters=clusters,
        euclidean=euclidean,
        squared=squared,
        profiles=profiles,
        names=named,
        certainty=_certainty(euclidean, squared, segment_ids),
        retention=retention,
        built=built,
        summary=made.summary,
        model=model,
        alternatives=tried,
        answer=found,
        kept_out=made.kept_out,
        styles=styles,
        style_profiles=style_profiles(styles, keys, segment_ids),
        messages=messages,
        traits=traits,
    )


def _certainty(euclidean: Silhouettes, squared: Silhouettes, segment_ids: Int32) -> Certainty:
    shares = np.bincount(segment_ids)[1:] / len(segment_ids)
    return Certainty(
        silhouette=euclidean.mean,
        silhouette_squared=squared.mean,
        largest_share=float(shares.max()),
        effective_segments=effective_number(shares),
        segments=segment_certainties(euclidean.values, segment_ids),
    )


def _answer(asked: Asked, keys: pa.Array, segment_ids: Int32, built: pa.Table, stages: Stages) -> Answer:
    with stages.stage("compare the outcome", Promise.REPEATABLE) as stage:
        found = answer(asked, keys, segment_ids, built)
        stage.add_rows(found.rates.whole.base)
    return found


def _traits(to_score: ToScore, styles: SpendingStyles, stages: Stages) -> Traits:
    with stages.stage("estimate personality") as stage:
        found = score_traits(to_score, styles.as_of)
        stage.add_rows(len(found.table))
    return found


def _messages(
    settings: Settings,
    styles: SpendingStyles,
    traits: Traits | None,
    stages: Stages,
    earlier: EarlierMessages | None,
) -> Messages | None:
    plan = settings.messages
    if plan is None:
        return None
    with stages.stage("choose messages") as stage:
        if plan.by == "styles":
            found = messages_by_styles(plan, styles, settings.opt_in, settings.seed, earlier)
        elif traits is None:
            raise InputError(
                "messages go by personality, and nobody is scored; declare a section personality"
            )
        else:
            found = messages_by_scores(plan, traits, styles.as_of, settings.seed, earlier)
        stage.add_rows(len(found.assigned.before))
    return found


def _unplaced(made: Built, outliers: Outliers) -> pa.Table:
    """Customers without features, outliers who are dropped, and why."""
    dropped = outliers.dropped(made.features, FALLBACK_REASON)
    return pa.concat_tables([made.unplaced, dropped], promote_options="default")


def _one(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
