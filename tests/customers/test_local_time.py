"""Local calendars against Python's own datetime arithmetic."""

# ruff: noqa: DTZ001 - wall clocks are the subject

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuseg.customers.reading import local_time
from gpuseg.errors import InputError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NAIVE = datetime(1970, 1, 1)
ZONES = [
    "UTC",
    "America/New_York",
    "Europe/Berlin",
    "Asia/Kathmandu",
    "Africa/Casablanca",
    "Australia/Lord_Howe",
]


@given(
    st.lists(st.datetimes(datetime(1990, 1, 1), datetime(2040, 1, 1)), min_size=1, max_size=9),
    st.sampled_from(ZONES),
)
def test_local_clock_is_that_of_zoneinfo(moments, zone):
    instants = np.array([(m - NAIVE) // timedelta(microseconds=1) for m in moments], np.int64)
    walls = [m.replace(tzinfo=UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None) for m in moments]
    expected = [(w - NAIVE) // timedelta(microseconds=1) for w in walls]
    assert local_time.utc_to_local(instants, zone).tolist() == expected
    days = local_time.local_days(instants, zone)
    assert days.tolist() == [(w.date() - NAIVE.date()).days for w in walls]


@given(
    st.lists(st.datetimes(datetime(1990, 1, 1), datetime(2040, 1, 1)), min_size=1, max_size=9),
    st.sampled_from(ZONES),
)
def test_wall_clocks_follow_pep_495(walls, zone):
    micros = np.array([(w - NAIVE) // timedelta(microseconds=1) for w in walls], np.int64)
    expected = [(w.replace(tzinfo=ZoneInfo(zone)) - EPOCH) // timedelta(microseconds=1) for w in walls]
    assert local_time.local_to_utc(micros, zone)[0].tolist() == expected


def test_hours_shown_twice_or_never_are_counted():
    walls = [
        "2017-03-12T01:59",
        "2017-03-12T02:30",
        "2017-11-05T00:59",
        "2017-11-05T01:30",
        "2017-11-05T02:00",
    ]
    micros = np.array(walls, "datetime64[us]").astype(np.int64)
    instants, unsure = local_time.local_to_utc(micros, "America/New_York")
    assert unsure == 2
    shown = np.array(instants, "datetime64[us]").astype("datetime64[m]").astype(str).tolist()
    assert shown == [
        "2017-03-12T06:59",
        "2017-03-12T07:30",
        "2017-11-05T04:59",
        "2017-11-05T05:30",
        "2017-11-05T07:00",
    ]


def test_fixed_offsets_are_zones():
    hour = np.array([0], np.int64)
    assert local_time.utc_to_local(hour, "+05:30").tolist() == [int(5.5 * 3600) * 10**6]
    assert local_time.utc_to_local(hour, "-0200").tolist() == [-7200 * 10**6]


def test_no_rows():
    assert local_time.local_days(np.zeros(0, np.int64), "Europe/Paris").tolist() == []


@pytest.mark.parametrize("name", ["Amerika/New_York", "", "../etc/passwd", 7])
def test_an_unknown_zone_is_refused(name):
    with pytest.raises(InputError, match="is not a known time zone"):
        local_time.check_zone(name)


def test_the_nearest_zone_is_named():
    with pytest.raises(InputError, match="did you mean 'America/New_York'"):
        local_time.check_zone("Amerika/New_York")
