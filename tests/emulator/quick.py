"""A quick test of each kernel file for the mutation run: calls of the tests beside it, with sizes that cross borders.

``CHECKS`` has one function a file, which takes a maker of devices and raises as the tests do. A header is tested
through the kernels that include it. ``narrowings`` is the one static test: conversions from 64 to 32 bits that no cast
shows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from gpuseg.engines import launch
from tests.emulator.build import COMMON, _run
from tests.emulator.device import ORDERS, PROPS, EmulatedDevice

KERNELS = Path(__file__).parents[2] / "kernels"

MakeDevice = Callable[..., EmulatedDevice]

# A value, weights, and what is said of them.
REFUSED: tuple[tuple[float, Any, str], ...] = (
    (np.nan, None, "does not fit its fixed-point scale"),
    (4.0, None, "does not fit its fixed-point scale"),
    (-2.0, None, "does not fit its fixed-point scale"),
    (1.0, np.array([1, -1], np.int64), "weight is negative"),
    (1.0, np.array([1, 2**31], np.int64), "weight is negative"),
    (1.0, np.array([1, 2**32], np.int64), "weight is negative"),
    (1.0, np.array([1, np.inf], np.float32), "weight is negative"),
    (1.0, np.array([1, -1e-45], np.float32), "weight is negative"),
)


def files() -> list[str]:
    """Names of all files of kernels/, headers included."""
    return sorted(path.name for path in KERNELS.iterdir() if path.suffix in {".cu", ".cuh"})


def maker(how: str, fixed_order: str | None = None) -> MakeDevice:
    """The fixture make_device without pytest; ``fixed_order`` overrides what a test asks for."""

    def make(order: str = "forward", seed: int = 0, props: Any = PROPS, **options: Any) -> EmulatedDevice:
        return EmulatedDevice(options.pop("how", how), fixed_order or order, seed, props, **options)

    return make


class Tests:
    """Tests of a module, hypothesis and marks taken off."""

    def __init__(self, module: str) -> None:
        self.module = import_module(f"tests.emulator.test_{module}")

    def __getattr__(self, name: str) -> Callable[..., None]:
        test = getattr(self.module, name)
        return getattr(getattr(test, "hypothesis", None), "inner_test", test)


class _Patch:
    """As much of pytest's monkeypatch as the tests called here need."""

    def __init__(self) -> None:
        self._before: list[tuple[Any, str, Any]] = []

    def setattr(self, owner: Any, name: Any, value: Any = None) -> None:
        if isinstance(owner, str):
            path, _, attribute = owner.rpartition(".")
            owner, name, value = import_module(path), attribute, name
        self._before.append((owner, name, getattr(owner, name)))
        setattr(owner, name, value)

    def undo(self) -> None:
        for owner, name, value in reversed(self._before):
            setattr(owner, name, value)


def patched(test: Callable[..., None], make: MakeDevice, *arguments: Any, **named: Any) -> None:
    patch = _Patch()
    try:
        test(make, *arguments, monkeypatch=patch, **named)
    finally:
        patch.undo()


def moments(make: MakeDevice) -> None:
    tests = Tests("moments")
    small = tests.module.SIZES[1]
    for weighting, order in product(("none", "integer", "real"), ORDERS):
        for n, kind in ((257, "mixed"), (33, "offset")):
            tests.test_equals_the_oracle_and_the_cpu_engine(make, n, 4, kind, weighting, small, order, 5)
    for order in ORDERS:
        tests.test_more_partials_than_the_merge_has_threads(make, order, "none")
        tests.test_weights_of_every_exponent_land_in_their_bins(make, order)
    patched(tests.test_more_tiles_of_features_than_the_grid_takes, make)
    tests.test_rows_of_weight_zero_are_not_looked_at(make, "integer")
    tests.test_sums_leave_64_bits(make)
    refusals(make, tests)


def label_moments(make: MakeDevice) -> None:
    tests = Tests("label_moments")
    for order, (n, k) in product(ORDERS, ((257, 9), (65, 3))):
        for sizes in tests.module.SIZES[1:3]:
            tests.test_equals_the_oracle_and_the_cpu_engine(make, n, 4, k, "mixed", np.uint8, sizes, order, 6)
    tests.test_sums_of_the_largest_squares_leave_64_bits(make)
    tests.test_rows_of_no_cluster_belong_nowhere(make)
    for sizes, order in product((tests.module.SIZES[1], tests.module.SIZES[3]), ORDERS):
        patched(tests.test_more_tiles_than_the_grid_takes, make, sizes=sizes, order=order)
    refusals(make, tests)


def distance(make: MakeDevice) -> None:
    tests = Tests("distance")
    metrics, sizes = tests.module.METRICS, tests.module.SIZES[1]
    for metric, order in product(metrics, ORDERS):
        tests.test_equals_the_oracle_and_the_cpu_engine(make, 300, 5, 9, "mixed", metric, sizes, order, 7)
    for metric in metrics:
        tests.test_equals_the_oracle_and_the_cpu_engine(make, 0, 3, 2, "ties", metric, sizes, "forward", 1)
        tests.test_a_host_block_and_hostile_values(make, metric)
        tests.test_features_beyond_a_tile_come_in_parts(make, metric, 154)
    tests.test_one_chain_is_fused_steps_in_feature_order(make)
    tests.test_equals_the_oracle_and_the_cpu_engine(make, 3, 2, 1500, "mixed", "cosine", sizes, "random", 7)
    patched(tests.test_points_beyond_the_grid_are_gone_round_to, make)


def silhouette(make: MakeDevice) -> None:
    tests = Tests("silhouette")
    sizes = tests.module.SIZES[1:3]
    for order, one in product(ORDERS, sizes):
        for n, m, clusters in ((300, 33, "any"), (33, 9, "singletons"), (31, 8, "one")):
            tests.test_sums_equal_the_oracle_and_the_cpu_engine(
                make, n, m, 3, 5, "mixed", clusters, one, order, 8
            )
    squares = tests.test_squared_silhouettes_equal_the_oracle_and_the_cpu_engine
    for order, one in product(ORDERS, tests.module.SQUARE_SIZES[1:3]):
        squares(make, 513, 3, 9, "offset", np.uint8, one, order, 3)
        squares(make, 32, 2, 4, "duplicates", np.uint8, one, order, 4)
    labels = tests.test_labelling_equals_labels_first_and_silhouettes_after
    for order, one in product(ORDERS, tests.module.SQUARE_SIZES[1:3]):
        labels(make, 129, 3, 9, "ties", np.uint16, one, order, 5)
    tests.test_a_row_at_no_finite_distance_is_the_first_clusters(make)
    for order in ORDERS:
        tests.test_every_rounding_is_half_to_even(make, order)
    for exponent in (-150, 0, 124):
        tests.test_scales_beyond_float32(make, exponent)
    tests.test_scales_beyond_float32_leave_equal_rows_at_no_distance(make, 190)
    tests.test_others_before_and_behind_all_clusters_count_nowhere(make)
    tests.test_distances_beyond_their_scale_are_refused(make, 2.0**51)
    tests.test_no_size_and_no_order_changes_a_sum(make, "mixed", "random")
    tests.test_rows_on_their_centres_are_0_and_rows_far_from_others_1(make)
    tests.test_labels_and_shapes_of_squared_silhouettes_that_do_not_fit_are_refused(make)


def assign(make: MakeDevice) -> None:
    tests = Tests("assign")
    small = tests.module.FUSED_SMALL
    _assigned(make, tests, small)
    for order in ORDERS:
        tests.test_several_models_each_equal_their_run_alone(
            make, 129, [3, 5, 2], "none", "normal", small, order, 4, _Draws()
        )


def assign_staged(make: MakeDevice) -> None:
    tests = Tests("assign")
    _assigned(make, tests, tests.module.STAGED_SMALL)
    for weighting in ("integer", "real"):  # more entries than lanes
        tests.test_remembering_changes_no_bit(make, weighting, tests.module.STAGED_ONE_WARP)
    _refused(make, tests, tests.module.STAGED)
    tests.test_sums_leave_64_bits(make, tests.module.STAGED)
    for weighting, squeeze in product(("none", "integer", "real"), _squeezes(tests)):
        tests.test_a_squeezed_launch_gives_the_same_bits(make, weighting, squeeze)


def assign_tiles(make: MakeDevice) -> None:
    tests = Tests("assign")
    _assigned(make, tests, tests.module.LABELS)
    _refused(make, tests, tests.module.LABELS)
    tests.test_parts_and_sums_are_carried_in_time(make, tests.module.LABELS, -1)
    tests.test_sums_leave_64_bits(make, tests.module.LABELS)
    for weighting, squeeze in product(("none", "integer", "real"), _squeezes(tests)[1:3]):
        tests.test_a_squeezed_launch_gives_the_same_bits(make, weighting, squeeze)
    for at_once in (8, 9):
        tests.test_more_models_than_a_thread_keeps_labels_of(make, at_once)
    tests.test_several_models_share_one_read_of_x(make, tests.module.LABELS, 6)
    tests.test_tiles_of_clusters_and_entries(make)
    patched(tests.test_more_tiles_than_the_grid_takes, make)


def _squeezes(tests: Tests) -> tuple[int, ...]:
    module = tests.module
    return module.STREAMED, module.SOME_SUMS, module.LABELS, module.PARTS


def _assigned(make: MakeDevice, tests: Tests, sizes: Any) -> None:
    equals = tests.test_equals_the_oracle_and_the_cpu_engine
    for weighting in ("none", "integer", "real"):
        for order in ORDERS:
            equals(make, 257, 5, 5, "ties", weighting, sizes, order, 9)
        equals(make, 129, 5, 8, "mixed", weighting, sizes, "random", 10)
        equals(make, 0, 5, 3, "mixed", weighting, sizes, "forward", 10)
        tests.test_remembering_changes_no_bit(make, weighting, sizes)
    for weighting in ("integer", "real"):
        tests.test_rows_of_weight_zero_get_a_label_and_count_nowhere(make, sizes, weighting)
    tests.test_more_partials_than_the_merge_has_warps(make, sizes)


def _refused(make: MakeDevice, tests: Tests, sizes: Any) -> None:
    for case in REFUSED:
        tests.test_what_the_scan_should_have_refused_is_refused(make, sizes, *case)


class _Draws:
    """In place of hypothesis' data: models and options of the passes of one run."""

    def __init__(self) -> None:
        self._next: Iterator[Any] = iter(
            [[0, 1, 2], True, True, [2, 0], True, False, [1], False, True, [0, 1, 2], True, True]
        )

    def draw(self, _: Any) -> Any:
        return next(self._next)


def scale(make: MakeDevice) -> None:
    tests = Tests("scale")
    small, pair = tests.module.SIZES[1:3]
    for order, layout, sizes in product(ORDERS, ("rows", "features"), (small, pair)):
        for n, d, dtype in ((65, 9, np.float32), (257, 5, np.float64)):
            tests.test_scans(make, n, d, "mixed", dtype, True, "real", layout, sizes, order, 3)
            tests.test_centring(make, n, d, "mixed", dtype, False, layout, sizes, order, 3)
    for weighting, order in product(("none", "integer", "real"), ORDERS):
        tests.test_the_verbs_on_host_buffers(make, order, "rows", weighting)
    tests.test_scans(make, 1000, 2, "offset", np.float32, False, "none", "features", small, "random", 4)
    for odd in ([1e-60], [0.0], [2.0**31]):
        tests.test_facts_of_weights(make, "forward", odd)
    tests.test_the_largest_weight_is_found_in_every_lane(make)
    tests.test_weights_add_up_past_32_and_53_bits(make)
    for order, weight in product(ORDERS, (0.0, 1e-60, -1.0)):
        tests.test_rows_that_do_not_count_are_in_no_range(make, order, weight)
    tests.test_more_partials_than_the_merge_has_threads(make)
    patched(tests.test_more_tiles_of_features_than_the_grid_takes, make)


def cohort(make: MakeDevice) -> None:
    tests = Tests("cohort")
    for order, threads in product(ORDERS, (32, 256)):
        tests.test_bitmaps_and_first_periods(make, 257, 33, 2, threads, order, 3)
        tests.test_bitmaps_and_first_periods(make, 99, 300, 2, threads, order, 3)
    for order, sizes in product(ORDERS, tests.module.SIZES[1:]):
        tests.test_triangles(make, 257, 2, 65, sizes, order, 4)
        tests.test_triangles(make, 33, 1, 63, sizes, order, 5)
        tests.test_revenue(make, 257, 33, 64, sizes, order, 6)
        tests.test_carries_between_the_halves_of_a_private_sum(make, order, sizes[1])
    for order in ORDERS:
        tests.test_the_verbs_add_to_what_the_caller_holds(make, order)
        for customer, period in ((-1, 0), (40, 0), (3, -1), (3, 64)):
            tests.test_the_first_code_outside_a_buffer_is_named(make, order, customer, period)
        for words in (0, 1, 2):
            tests.test_a_first_period_past_the_triangle_is_refused(make, order, words)
    tests.test_a_count_of_one_cell_from_every_thread(make)


def personality(make: MakeDevice) -> None:
    tests = Tests("categories")
    for order, threads in product(ORDERS, (32, 256)):
        tests.test_sums_by_customer_and_category(make, 257, 33, 31, threads, order, 2)
        tests.test_sums_by_customer_and_category(make, 33, 1, 1, threads, order, 3)
    for order in ORDERS:
        tests.test_blocks_of_records_add_up_in_the_buffer_of_the_caller(make, order)
        for customer, category in ((-1, 0), (20, 0), (3, -1), (3, 6)):
            tests.test_the_first_code_outside_the_buffer_is_named(make, order, customer, category)


def seed(make: MakeDevice) -> None:
    tests = Tests("seed")
    for weighting, order in product(("none", "integer", "real"), ORDERS):
        for sizes in tests.module.SIZES[1:]:
            tests.test_a_step_of_seeding(make, 257, 5, 9, "mixed", weighting, sizes, order, 2)
    for weighting, share, order in product(("none", "integer", "real"), (None, 0.5), ORDERS):
        tests.test_rows_below_a_draw(make, 257, share, "numbers", weighting, 32, True, order, 2)
    tests.test_rows_below_a_draw(make, 1000, None, "numbers", "none", 32, False, "random", 2)
    tests.test_sums_leave_32_and_53_bits(make)
    patched(tests.test_more_groups_of_candidates_than_the_grid_takes, make)
    for value in (np.nan, 2.0**12):
        tests.test_a_potential_beyond_its_scale_is_refused(make, value)


def oversample(make: MakeDevice) -> None:
    tests = Tests("oversample")
    for weighting, order in product(("none", "integer", "real"), ORDERS):
        # Blocks that go round keep nearly all rows, so that one which is left out shows; others keep a few.
        for wanted, sizes in zip((1e6, 9.0), tests.module.SIZES[1:], strict=True):
            tests.test_two_rounds(make, 257, 5, 9, wanted, "mixed", weighting, sizes, order, 2)
    for threads in (32, 96):
        tests.test_sums_leave_64_bits(make, threads)
    for value in (np.nan, np.inf, -1.0):
        tests.test_distances_that_cannot_be_are_refused(make, value)


def elementwise(make: MakeDevice) -> None:
    tests = Tests("elementwise")
    for name in ("log", "log1p", "exp2"):
        tests.test_detmath_gives_the_recorded_bits(make, name)
        tests.test_detmath_gives_the_bits_of_numpy(make, name)
    for order in ORDERS:
        tests.test_draws_are_those_of_numpy(make, order)
    tests.test_uniforms_are_those_of_numpy(make)


def refusals(make: MakeDevice, tests: Tests) -> None:
    """Values beyond their scale, in the tests of moments."""
    test = tests.test_what_the_scan_should_have_refused_is_refused
    if tests.module.__name__.endswith("label_moments"):
        for value in (np.nan, 4.0, -2.0):
            test(make, value)
        return
    for case in REFUSED:
        test(make, *case)
    tests.test_refusals_of_many_threads_meet_in_one_word(make)


CHECKS: dict[str, tuple[Callable[[MakeDevice], None], ...]] = {
    "assign.cu": (assign,),
    "assign.cuh": (assign, assign_staged, assign_tiles),
    "assign_merge.cu": (assign, assign_tiles),
    "assign_staged.cu": (assign_staged,),
    "assign_tiles.cu": (assign_tiles,),
    "cohort.cu": (cohort,),
    "common.cuh": (moments, scale),
    "detmath.cuh": (elementwise,),
    "distance.cu": (distance,),
    "label_moments.cu": (label_moments,),
    "moments.cu": (moments,),
    "oversample.cu": (oversample,),
    "pairs.cuh": (distance, silhouette),
    "personality.cu": (personality,),
    "philox.cuh": (elementwise, seed),
    "records.cuh": (personality, cohort),
    "scale.cu": (scale,),
    "seed.cu": (seed,),
    "silhouette.cu": (silhouette,),
}


_WIDE_TO_NARROW = re.compile(
    r"^(\S+?:\d+):.*conversion from .*?(?:i64|u64|long).* to .*?(?:i32|u32|int).*\[-Wconversion\]$",
    re.MULTILINE,
)


def narrowings(name: str) -> list[str]:
    """Where 64 bits become 32 without a cast, as g++ sees it: ``file:line``."""
    source = launch.inline_headers(name, launch.read_kernel_file)
    flags = (
        *COMMON,
        "-Wconversion",
        "-Wno-error",
        "-fsyntax-only",
        "-include",
        "dialect.h",
        "-x",
        "c++",
        "-",
    )
    said = _run("g++", *flags, text=source, check=False).stderr
    return [where[1] for where in _WIDE_TO_NARROW.finditer(said)]
