"""Numbers and times in sentences."""

from __future__ import annotations

from datetime import datetime


def rows(number: int) -> str:
    return "1 row" if number == 1 else f"{number:,} rows"


def rows_are(number: int) -> str:
    return f"{rows(number)} {'is' if number == 1 else 'are'}"


def time_of_day(moment: datetime) -> str:
    """Write a moment of today as the clocks of this machine do."""
    return f"{moment.astimezone():%H:%M:%S}"
