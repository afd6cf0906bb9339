"""Dates in the spellings people use, brought to year, month and day, as many of them as there are.

Only whole texts that are nothing but a date count: a month's name with a year, a day or both, ISO 8601, or day, month
and year in digits when only one order is possible. `03/02/2009` could be two dates, so it is none.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import date

_MONTHS = (
    "january", "february", "march", "april", "may", "june",
    "july", "august", "september", "october", "november", "december",
)  # fmt: skip
_MONTH_OF = {name: number for number, name in enumerate(_MONTHS, 1)} | {
    name[:3]: number for number, name in enumerate(_MONTHS, 1)
}
_MONTH_OF["sept"] = 9
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_MONTH = r"(?P<month>" + "|".join(sorted(_MONTH_OF, key=len, reverse=True)) + r")\.?"
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
_ERA = r"\s*(?P<era>b\.?c\.?(?:e\.?)?|a\.?d\.?|c\.?e\.?)"
_YEAR = rf"(?P<year>\d{{3,4}}(?![\d])|\d{{1,2}}(?={_ERA.replace('?P<era>', '?:')}))(?:{_ERA})?"
_LEAD = re.compile(rf"^(?:(?:on|in)\s+)?(?:(?P<weekday>{'|'.join(_WEEKDAYS)})\s*,?\s+)?(?:the\s+)?", re.IGNORECASE)
_FORMS = tuple(
    re.compile(form, re.IGNORECASE)
    for form in (
        rf"{_MONTH}\s+{_DAY}\s*,?\s+{_YEAR}",
        rf"{_DAY}\s+(?:of\s+)?{_MONTH}\s*,?\s+(?:of\s+)?{_YEAR}",
        rf"{_DAY}-{_MONTH}-{_YEAR}",
        rf"{_MONTH}\s*,?\s+(?:of\s+)?{_YEAR}",
        rf"{_YEAR},?\s+{_MONTH}\s+{_DAY}",
        r"(?P<year>\d{4})[-/.](?P<month>\d{1,2})[-/.](?P<day>\d{1,2})",
        rf"{_MONTH}\s+{_DAY}",
        rf"{_DAY}\s+(?:of\s+)?{_MONTH}",
    )
)
_DIGITS = re.compile(r"(?P<first>\d{1,2})[-/.](?P<second>\d{1,2})[-/.](?P<year>\d{4})")

PartialDate = tuple[int | None, int, int | None]
"""Year, month and day; a year before Christ is negative. A year or a day is there."""


def parse_date(text: str) -> PartialDate | None:
    """The date that a text is, or None if it is anything else, could be two dates, or names a day that does not exist.

    A day of the week may stand before it if it is the right one.
    """
    text = unicodedata.normalize("NFKC", text[:100]).strip().rstrip(".")
    if len(text) > 60 or not text.isascii():
        return None
    lead = _LEAD.match(text)
    assert lead is not None  # every part of it may be missing
    found = _parse(text[lead.end() :])
    return found if found is None or lead["weekday"] is None or _falls_on(found, lead["weekday"]) else None


def _parse(text: str) -> PartialDate | None:
    if match := _DIGITS.fullmatch(text):
        return _from_digits(int(match["first"]), int(match["second"]), int(match["year"]))
    for form in _FORMS:
        if match := form.fullmatch(text):
            groups = match.groupdict()
            month = groups["month"].lower()
            month_number = int(month) if month.isdigit() else _MONTH_OF[month]
            day, year = groups.get("day"), groups.get("year")
            is_before_christ = (groups.get("era") or "").lower().startswith("b")
            return _checked(
                None if year is None else -int(year) if is_before_christ else int(year),
                month_number,
                None if day is None else int(day),
            )
    return None


def _from_digits(first: int, second: int, year: int) -> PartialDate | None:
    """Day and month in digits: in the only order that is a date, or any order when they are equal."""
    readings = {_checked(year, second, first), _checked(year, first, second)} - {None}
    return readings.pop() if len(readings) == 1 else None


def _checked(year: int | None, month: int, day: int | None) -> PartialDate | None:
    try:
        date(2000 if year is None or year < 1 else year, month, day or 1)
    except ValueError:
        return None
    return year, month, day


def _falls_on(found: PartialDate, weekday: str) -> bool:
    """Whether a date falls on a weekday; true where that cannot be known or the calendar was another one."""
    year, month, day = found
    if year is None or day is None or year < 1930:
        return True
    return _WEEKDAYS[date(year, month, day).weekday()] == weekday.lower()
