"""Which route a pass takes: measured on its own rows, once earned; BLAS on one thread, and only if exact enough."""

from __future__ import annotations

import logging
import threading

import numpy as np
import pytest
import threadpoolctl

from gpuseg.core.moments import Scales
from gpuseg.core.weights import WeightRange, Weights
from gpuseg.engines.base import AssignState
from gpuseg.engines.cpu import products, routes
from gpuseg.engines.cpu.engine import CpuEngine
from gpuseg.engines.cpu.products import one_thread_each, rounds_as_float32
from gpuseg.engines.cpu.routes import EARNED, TIMED, Race, tile_rows
from gpuseg.engines.cpu.slack import TILE
from tests import strategies

D, K = 64, 32


class Clock:
    """Seconds that pass only inside a route: so many a row by the chain, so many by the screen."""

    def __init__(self, chain, screen):
        self.costs = {False: chain, True: screen}
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def table():
    """Rows of many tiles, and centres among them."""
    rows = strategies.table("normal", 40 * TILE + 5, D, seed=1)
    return rows, strategies.centres(rows, K, seed=2)


def one_pass(engine, rows, centres):
    block, scales = np.ascontiguousarray(rows.T), Scales.of(np.ones(D) * 8, WeightRange.of(None, len(rows)))
    state = AssignState.fresh(len(rows), len(centres))
    [result] = engine.assign(block, Weights.ones(), [centres], [state], scales)
    return state.labels, result


@pytest.fixture
def race(monkeypatch):
    """The race that passes run, with a clock of its own and few rows to be earned."""
    clock = Clock(1.0, 1.0)
    found = Race(D, K, clock)
    monkeypatch.setattr(routes, "EARNED", 1)
    monkeypatch.setattr(routes, "race_of", lambda d, k: found)
    monkeypatch.setattr(routes, "tile_rows", lambda d, k: TILE)
    plain, over = routes.ScreenedRows.__call__, routes.Route.over

    def by_screen(self, start, stop):
        clock.now += clock.costs[True] * (stop - start)
        plain(self, start, stop)

    monkeypatch.setattr(routes.ScreenedRows, "__call__", by_screen)

    def with_slow_chain(self, low, high, chain, rows):
        def timed(start, stop):
            clock.now += clock.costs[False] * (stop - start)
            chain(start, stop)

        over(self, low, high, timed, rows)

    monkeypatch.setattr(routes.Route, "over", with_slow_chain)
    return found


@pytest.mark.parametrize(
    ("chain", "screen", "wins"), [(1.0, 0.5, True), (1.0, 2.0, False), (1.0, 0.99, False)]
)
def test_the_faster_route_goes_on_and_no_bit_changes(race, table, caplog, chain, screen, wins):
    race.clock.costs = {False: chain, True: screen}
    rows, centres = table
    plain, expected = one_pass(CpuEngine(1, bounds=False, screen=False), rows, centres)
    with caplog.at_level(logging.INFO, "gpuseg.engines"):
        labels, first = one_pass(CpuEngine(1, bounds=False), rows, centres)
    assert race.screen_wins is wins
    timed = TIMED.count(True) * TILE
    assert first.screened == (40 * TILE - TIMED.count(False) * TILE if wins else timed)
    assert f"the {'screen' if wins else 'chain'} goes on" in caplog.text
    _, later = one_pass(CpuEngine(2, bounds=False), rows, centres)
    assert later.screened == (40 * TILE if wins else 0)
    for found in (first, later):
        assert strategies.same(found.sums, expected.sums)
    assert np.array_equal(labels, plain)


def test_while_a_thread_times_the_others_go_by_the_chain(race, table):
    race.clock.costs[True] = 0.1
    race.earn(TILE)
    assert race.take()
    _, result = one_pass(CpuEngine(2, bounds=False), *table)
    assert result.screened == 0
    race.screen_wins = True
    _, result = one_pass(CpuEngine(2, bounds=False), *table)
    assert result.screened == 40 * TILE


def test_nothing_is_timed_before_it_is_earned(race, table, monkeypatch):
    monkeypatch.setattr(routes, "EARNED", 100)  # tiles; a pass is 40 of them
    screened = [one_pass(CpuEngine(1, bounds=False), *table)[1].screened for _ in range(3)]
    assert screened[:2] == [0, 0]
    assert screened[2] == TIMED.count(True) * TILE


def test_ranges_too_short_to_time_both_take_turns(race, table):
    rows, centres = table
    screened = [one_pass(CpuEngine(1, bounds=False), rows[: 2 * TILE], centres)[1].screened for _ in range(4)]
    assert screened == [by_screen * TILE for by_screen in (1, 1, 1, 0)]
    assert race.screen_wins is False


def test_an_error_while_routes_are_timed_leaves_it_to_the_next_pass(race, table, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(routes, "multiply", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            one_pass(CpuEngine(1, bounds=False), *table)
    one_pass(CpuEngine(1, bounds=False), *table)
    assert race.screen_wins is False


def test_sampled_tiles_keep_their_slack_while_routes_are_timed(race, table, monkeypatch):
    monkeypatch.setattr("gpuseg.engines.cpu.engine.paying_share", lambda d, k, costs: 0.001)
    race.clock.costs[True] = 0.1
    _, result = one_pass(CpuEngine(1), *table)
    assert result.screened == (40 - 2 - TIMED.count(False)) * TILE


def test_a_pass_with_many_ties_goes_on_by_the_chain(race, table):
    race.screen_wins = True
    rows, centres = table
    twins = np.concatenate([centres, centres])
    labels, result = one_pass(CpuEngine(1, bounds=False), rows, twins)
    assert (result.screened, result.redone) == (TILE, TILE)
    assert np.array_equal(labels, one_pass(CpuEngine(1, bounds=False, screen=False), rows, centres)[0])


def test_small_shapes_and_small_work_are_never_timed():
    assert routes.race_of(9, 9) is routes.race_of(9, 9)
    rows = strategies.table("normal", 500, 5, 0)
    routes.race_of.cache_clear()
    for k in (4, 400):
        scales = Scales.of(np.ones(5) * 8, WeightRange.of(None, 500))
        state = AssignState.fresh(500, k)
        [result] = CpuEngine(1).assign(rows.T.copy(), Weights.ones(), [rows[:k].copy()], [state], scales)
        assert result.screened == 0
    assert routes.race_of.cache_info().currsize == 0


@pytest.mark.parametrize(("d", "k"), [(64, 64), (256, 512), (2048, 1), (16, 128)])
def test_what_timing_may_lose_is_a_hundredth_of_what_went_before(d, k):
    slower = 1.8  # than the chain
    assert TIMED.count(True) * (slower - 1) < 0.01 * EARNED
    race = Race(d, k)
    race.earn(EARNED * tile_rows(d, k) - 1)
    assert not race.due
    race.earn(1)
    assert race.due
    assert [race.take(), race.take()] == [True, False]
    race.release()
    assert race.take()


def threads_of_blas():
    return {library["num_threads"] for library in products._libraries().info()}


def test_blas_has_one_thread_while_any_pass_lasts():
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        before = threads_of_blas()
        first, second = one_thread_each(), one_thread_each()
        first.__enter__()
        assert threads_of_blas() == {1}
        second.__enter__()
        first.__exit__(None, None, None)  # passes overlap, they do not nest
        assert threads_of_blas() == {1}
        second.__exit__(None, None, None)
        assert threads_of_blas() == before


def test_blas_gets_its_threads_back_after_an_error():
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        before = threads_of_blas()
        with pytest.raises(ZeroDivisionError), one_thread_each():
            raise ZeroDivisionError
        assert threads_of_blas() == before


def test_products_run_on_one_thread_in_a_pass(monkeypatch, table):
    seen, plain = set(), routes.multiply

    def watched(*arguments):
        seen.update((threading.get_ident(), count) for count in threads_of_blas())
        plain(*arguments)

    monkeypatch.setattr(routes, "multiply", watched)
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        one_pass(CpuEngine(2, screen=True), *table)
    assert {count for _, count in seen} == {1}
    assert len({thread for thread, _ in seen}) == 2


def rounded_to(bits):
    """A product of inputs that keep so many bits after the leading one, as TF32 (10) or bfloat16 (7) do."""

    def product(centres, rows, out):
        mask = np.uint32(0xFFFFFFFF << (23 - bits) & 0xFFFFFFFF)
        cut = [(values.view(np.uint32) & mask).view(np.float32) for values in (centres, rows)]
        out[:] = cut[0].astype(np.float64) @ cut[1].astype(np.float64)

    return product


@pytest.mark.parametrize(("k", "d", "m"), [(1, 1, 16), (3, 7, 100), (64, 300, 1024), (300, 5, 64)])
@pytest.mark.parametrize("bits", [7, 10, 16, 20])
def test_blas_that_rounds_its_inputs_is_found_out(monkeypatch, k, d, m, bits):
    assert rounds_as_float32(k, d, m)
    monkeypatch.setattr(products, "multiply", rounded_to(bits))
    assert not rounds_as_float32(k, d, m)


def test_blas_that_is_not_trusted_is_not_used(monkeypatch, table, caplog):
    routes._trusted.cache_clear()
    monkeypatch.setattr(products, "multiply", rounded_to(7))
    for _ in range(2):
        _, result = one_pass(CpuEngine(1, screen=True), *table)
        assert result.screened == 0
    assert caplog.text.count("not as exact as float32 is") == 1
    monkeypatch.undo()
    routes._trusted.cache_clear()
    _, result = one_pass(CpuEngine(1, screen=True), *table)
    assert result.screened
