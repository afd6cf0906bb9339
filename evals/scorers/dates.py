"""Dates in the spellings people use, brought to (year, month, day) or (year, month).

Only whole texts that are nothing but a date count: a month name with year (and day), ISO 8601, or day, month and year
in digits when only one order is possible. `03/02/2009` could be two dates, so it is none.
"""

from __future__ import annotations

import re
from datetime import date

_MONTHS = (
    "january", "february", "march", "april", "may", "june",
    "july", "august", "september", "october", "november", "december",
)  # fmt: skip
_MONTH_OF = {name: number for number, name in enumerate(_MONTHS, 1)} | {
    name[:3]: number for number, name in enumerate(_MONTHS, 1)
}
_MONTH_OF["sept"] = 9
_MONTH = r"(?P<month>" + "|".join(sorted(_MONTH_OF, key=len, reverse=True)) + r")\.?"
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
_YEAR = r"(?P<year>\d{3,4})"
_LEAD = re.compile(
    r"^(?:(?:on|in)\s+)?(?:(?:mon|tues|wednes|thurs|fri|satur|sun)day\s*,?\s+)?(?:the\s+)?", re.IGNORECASE
)
_FORMS = tuple(
    re.compile(form, re.IGNORECASE)
    for form in (
        rf"{_MONTH}\s+{_DAY}\s*,?\s+{_YEAR}",
        rf"{_DAY}\s+(?:of\s+)?{_MONTH}\s*,?\s+(?:of\s+)?{_YEAR}",
        rf"{_DAY}-{_MONTH}-{_YEAR}",
        rf"{_MONTH}\s*,?\s+(?:of\s+)?{_YEAR}",
        rf"{_YEAR},?\s+{_MONTH}\s+{_DAY}",
        r"(?P<year>\d{4})[-/.](?P<month>\d{1,2})[-/.](?P<day>\d{1,2})",
    )
)
_DIGITS = re.compile(r"(?P<first>\d{1,2})[-/.](?P<second>\d{1,2})[-/.](?P<year>\d{4})")

PartialDate = tuple[int, ...]
"""(year, month, day) or (year, month)."""


def parse_date(text: str) -> PartialDate | None:
    """The date that a text is, or None if it is anything else or could be two dates."""
    if len(text) > 60 or not text.isascii():
        return None
    text = _LEAD.sub("", text.strip().rstrip("."), count=1)
    if match := _DIGITS.fullmatch(text):
        return _from_digits(int(match["first"]), int(match["second"]), int(match["year"]))
    for form in _FORMS:
        if match := form.fullmatch(text):
            groups = match.groupdict()
            month = groups["month"].lower()
            month_number = int(month) if month.isdigit() else _MONTH_OF[month]
            day = groups.get("day")
            return _checked(int(groups["year"]), month_number, None if day is None else int(day))
    return None


def _from_digits(first: int, second: int, year: int) -> PartialDate | None:
    """Day and month in digits: in the only order that is a date, or any order when they are equal."""
    readings = {_checked(year, second, first), _checked(year, first, second)} - {None}
    return readings.pop() if len(readings) == 1 else None


def _checked(year: int, month: int, day: int | None) -> PartialDate | None:
    try:
        date(max(year, 1), month, day or 1)
    except ValueError:
        return None
    return (year, month) if day is None else (year, month, day)
