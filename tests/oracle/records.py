"""Coded records in plain Python sets, dictionaries and integers."""

from __future__ import annotations


def bitmaps(customer, period, n: int, words: int) -> list[list[int]]:
    """Words of each customer's bitmap."""
    bits = [[0] * words for _ in range(n)]
    for c, p in zip(customer, period, strict=True):
        bits[c][p // 64] |= 1 << (p % 64)
    return bits


def active(bits) -> list[set[int]]:
    """Periods of each customer."""
    return [
        {64 * w + b for w, word in enumerate(row) for b in range(64) if int(word) >> b & 1} for row in bits
    ]


def first_periods(bits) -> list[int]:
    """Lowest period, -1 where there is none."""
    return [min(periods, default=-1) for periods in active(bits)]


def triangle(bits, first, n_periods: int) -> list[list[int]]:
    """Customers by acquisition period and age."""
    counts = [[0] * n_periods for _ in range(n_periods)]
    for periods, start in zip(active(bits), first, strict=True):
        for p in periods:
            if 0 <= start <= p < n_periods:
                counts[start][p - start] += 1
    return counts


def revenue(customer, period, amount, first, n_periods: int) -> tuple[list[list[int]], int]:
    """Money by acquisition period and age, and the records left out."""
    money, left_out = [[0] * n_periods for _ in range(n_periods)], 0
    for c, p, a in zip(customer, period, amount, strict=True):
        start = first[c]
        if start < 0 or p < start:
            left_out += 1
        else:
            money[start][p - start] += a
    return money, left_out


def category_sums(customer, category, amount, n: int, n_categories: int) -> list[list[int]]:
    """Sums by customer and category."""
    sums = [[0] * n_categories for _ in range(n)]
    for c, g, a in zip(customer, category, amount, strict=True):
        sums[c][g] += a
    return sums
