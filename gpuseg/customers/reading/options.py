"""Options of the reader (room ``customers``, called by transactions): what a user wrote, or one sentence why not."""

from __future__ import annotations

from gpuseg.customers.reading import local_time
from gpuseg.customers.reading.roles import Roles
from gpuseg.errors import InputError


def refuse_for_dask(**options: object) -> None:
    """Refuse options that a Dask dataframe cannot follow.

    Raises
    ------
    InputError
        There is no such option.
    """
    for name, value in options.items():
        if value is not None:
            raise InputError(
                f"{name}={value!r} is for files and frames, not for a Dask dataframe; leave it out"
            )


def zone_option(time_zone: str | None, naive: str) -> str:
    """The time zone, checked; UTC where none is given.

    Raises
    ------
    InputError
        There is no such option.
    """
    if naive not in {"utc", "local", "error"}:
        raise InputError(f"naive={naive!r} is not an option; use 'utc', 'local' or 'error'")
    if time_zone is None:
        if naive == "local":
            raise InputError("naive='local' needs time_zone=, the zone whose wall clock the times show")
        return "UTC"
    return local_time.check_zone(time_zone)


def minor_option(minor_units: object) -> int:
    """The number of decimals, checked.

    Raises
    ------
    InputError
        There is no such option.
    """
    if isinstance(minor_units, bool) or not isinstance(minor_units, int) or not 0 <= minor_units <= 6:
        raise InputError(f"minor_units={minor_units!r} is not a number of decimals from 0 to 6")
    return minor_units


def bad_rows_option(on_bad_rows: str) -> str:
    """What to do with bad rows, checked.

    Raises
    ------
    InputError
        There is no such option.
    """
    if on_bad_rows not in {"error", "reject"}:
        raise InputError(f"on_bad_rows={on_bad_rows!r} is not an option; use 'error' or 'reject'")
    return on_bad_rows


def amount_option(amount_of: str, declared: Roles) -> str:
    """What an amount is for, checked.

    Raises
    ------
    InputError
        There is no such option.
    """
    if amount_of not in {"line", "piece"}:
        raise InputError(f"amount_of={amount_of!r} is not an option; use 'line' or 'piece'")
    if amount_of == "piece" and declared.quantity is None:
        raise InputError(
            "amount_of='piece' needs quantity=, the column that the price of a piece is multiplied with"
        )
    return amount_of
