"""Units of measurement and currencies: which spellings are one unit, and what one is of another.

Only conversions by an exact factor are known (a mile is not written in kilometres by any answer that meant miles).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache


@dataclass(frozen=True)
class Unit:
    """A product of powers of base units, times a factor."""

    powers: tuple[tuple[str, int], ...]
    """Base units and their exponents, sorted."""
    factor: Fraction = Fraction(1)

    def __mul__(self, other: Unit) -> Unit:
        powers = dict(self.powers)
        for base, power in other.powers:
            powers[base] = powers.get(base, 0) + power
        return Unit(tuple(sorted((base, power) for base, power in powers.items() if power)), self.factor * other.factor)

    def __pow__(self, power: int) -> Unit:
        return Unit(tuple((base, exponent * power) for base, exponent in self.powers), self.factor**power)


def _base(name: str, factor: str = "1") -> Unit:
    return Unit(((name, 1),), Fraction(factor))


_TABLE = """
m meter meters metre metres = 1 m
km kms kilometer kilometers kilometre kilometres = 1000 m
dm decimeter decimeters decimetre decimetres = 1/10 m
cm cms centimeter centimeters centimetre centimetres = 1/100 m
mm millimeter millimeters millimetre millimetres = 1/1000 m
µm micrometer micrometers micrometre micrometres micron microns = 1/1000000 m
nm nanometer nanometers nanometre nanometres = 1/1000000000 m
in in. inch inches = 1 inch
ft ft. foot feet = 12 inch
yd yd. yard yards = 36 inch
mi mi. mile miles = 63360 inch
ly light-year light-years lightyear lightyears = 1 light-year
pc parsec parsecs = 1 parsec
g gram grams gramme grammes = 1 g
kg kgs kilogram kilograms kilogramme kilogrammes kilo kilos = 1000 g
mg milligram milligrams = 1/1000 g
µg microgram micrograms = 1/1000000 g
tonne tonnes = 1000000 g
ton tons = 1 ton
oz oz. ounce ounces = 1 ounce
lb lbs lb. lbs. = 16 ounce
s sec secs sec. second seconds = 1 s
ms millisecond milliseconds = 1/1000 s
min mins min. minute minutes = 60 s
h hr hrs hr. hour hours = 3600 s
day days = 86400 s
week weeks = 604800 s
month months = 1 month
yr yrs year years year-old years-old = 12 month
decade decades = 120 month
century centuries = 1200 month
L l liter liters litre litres = 1 L
ml mL milliliter milliliters millilitre millilitres = 1/1000 L
cl cL centiliter centiliters centilitre centilitres = 1/100 L
gal gallon gallons = 1 gallon
quart quarts = 1/4 gallon
pint pints = 1/8 gallon
cup cups = 1 cup
tablespoon tablespoons tbsp = 1 tablespoon
teaspoon teaspoons tsp = 1 teaspoon
barrel barrels = 1 barrel
acre acres = 1 acre
N newton newtons = 1 N
J joule joules = 1 J
kJ kilojoule kilojoules = 1000 J
W watt watts = 1 W
kW kilowatt kilowatts = 1000 W
MW megawatt megawatts = 1000000 W
GW gigawatt gigawatts = 1000000000 W
V volt volts = 1 V
amp amps ampere amperes = 1 A
Ω ohm ohms = 1 ohm
Pa pascal pascals = 1 Pa
kPa kilopascal kilopascals = 1000 Pa
atm = 1 atm
Hz hertz = 1 Hz
kHz kilohertz = 1000 Hz
MHz megahertz = 1000000 Hz
GHz gigahertz = 1000000000 Hz
mol mols mole moles = 1 mol
eV = 1 eV
cal calorie calories = 1 cal
kcal kilocalorie kilocalories = 1000 cal
byte bytes = 1 byte
KB kB kilobyte kilobytes = 1000 byte
MB megabyte megabytes = 1000000 byte
GB gigabyte gigabytes = 1000000000 byte
TB terabyte terabytes = 1000000000000 byte
knot knots = 1 knot
° deg deg. degree degrees = 1 degree
rad radian radians = 1 radian
°C celsius = 1 celsius
°F fahrenheit = 1 fahrenheit
kelvin kelvins = 1 kelvin
unit units = 1 unit
$ US$ USD dollar dollars bucks = 100 cent
¢ cent cents = 1 cent
€ EUR euro euros = 1 euro
£ GBP pound pounds = 100 penny
penny pence = 1 penny
¥ JPY yen = 1 yen
CNY RMB yuan renminbi = 1 yuan
₹ INR Rs Rs. rupee rupees = 1 rupee
CHF franc francs = 1 franc
₽ RUB ruble rubles rouble roubles = 1 ruble
₩ KRW won = 1 won
MXN peso pesos = 1 peso
R$ BRL real reais = 1 real
SEK krona kronor = 1 krona
A$ AUD = 1 AUD
C$ CAD = 1 CAD
person persons people = 1 person
inhabitant inhabitants resident residents = 1 inhabitant
story stories storey storeys floor floors = 1 floor
match matches game games = 1 game
film films movie movies = 1 film
man men = 1 man
woman women = 1 woman
child children = 1 child
"""
"""Spellings of a unit, and what it is in base units; the first is the sign where there is one."""
_COUNTED = """
student pupil member employee soldier player episode season goal point vote seat page book song album country state city
island species time way item win medal day-old marble apple ball card coin ticket box car dog cat house tree worker ship
"""
"""Things that are counted, in the singular."""


def _units() -> dict[str, Unit]:
    units: dict[str, Unit] = {}
    for line in _TABLE.strip().splitlines():
        spellings, _, meaning = line.partition(" = ")
        factor, _, base = meaning.partition(" ")
        units |= dict.fromkeys(spellings.split(), _base(base, factor))
    for noun in _COUNTED.split():
        units[noun] = units[_plural(noun)] = _base(noun)
    hour = units["hour"]
    compound = {"mph": units["mile"] * hour**-1, "kph": units["km"] * hour**-1, "kmh": units["km"] * hour**-1}
    hectare = _base("m", "100") ** 2
    return units | compound | dict.fromkeys(("ha", "hectare", "hectares"), hectare)


def _plural(noun: str) -> str:
    if noun == "species":
        return noun
    if noun.endswith(("ry", "ty")):
        return noun[:-1] + "ies"
    return noun + ("es" if noun.endswith("x") else "s")


_UNITS = _units()
CURRENCY_SIGNS = "$€£¥₹₽₩"
_LEADING = "$ US$ USD € EUR £ GBP ¥ JPY CNY RMB ₹ INR Rs Rs. CHF ₽ RUB ₩ KRW MXN R$ BRL SEK A$ AUD C$ CAD"
CURRENCIES = {spelling: _UNITS[spelling] for spelling in _LEADING.split()}
"""Currencies that can stand before an amount."""
SHORT = frozenset(("m", "g", "s", "h", "L", "l", "N", "J", "W", "V", "in", "mi", "pc", "ms"))
"""Units that are variables or words as well; they count only where space parts them from a number."""
_PAIRS = {
    "degrees celsius": "°C", "degree celsius": "°C", "degrees fahrenheit": "°F", "° c": "°C", "° f": "°F",
    "light years": "light-years", "light year": "light-years", "us dollars": "dollars", "u.s. dollars": "dollars",
    "american dollars": "dollars", "years old": "years", "year old": "years",
}  # fmt: skip
_PART = re.compile(r"\s*(°\s?[CF]\b|[¢°$€£¥₹₽₩]|[A-Za-zµΩ][A-Za-zµΩ.$-]*)(?:\s*\^\s*\{?\s*(-?[1-9])\s*\}?)?")
_MAX_PARTS = 6


def unit_of(text: str, more: Iterable[str] = ()) -> Unit | None:
    """The unit that a whole text is, compound ones (`km/h`, `square miles`, `cm^2`) included; None for any other text.

    Args:
        text: what stands after a number.
        more: nouns that are units here, because the question asks for them.
    """
    text = text.strip().rstrip(",;:")
    if not text or len(text) > 60:
        return None
    unit, position, divided, parts = Unit(()), 0, False, 0
    power_before = 1
    while position < len(text):
        if joint := re.compile(r"\s*(/|\bper\b|\bof\b)\s*").match(text, position):
            if not parts or joint[1] == "of" or divided:
                return None
            divided, position = True, joint.end()
            continue
        match = _PART.match(text, position)
        if match is None or (parts := parts + 1) > _MAX_PARTS:
            return None
        word, position = match[1], match.end()
        if word.lower() in ("square", "sq", "sq.", "cubic", "cu"):
            power_before = 2 if word.lower().startswith("s") else 3
            continue
        single, position = _named(word, text, position, more)
        if single is None:
            return None
        power = int(match[2] or 1) * power_before
        if after := re.compile(r"\s+(squared|cubed)\b").match(text, position):
            power, position = power * (2 if after[1] == "squared" else 3), after.end()
        unit, power_before = unit * single ** (-power if divided else power), 1
    return unit if unit.powers and power_before == 1 else None


def _named(word: str, text: str, position: int, more: Iterable[str]) -> tuple[Unit | None, int]:
    """The unit of a word, or of it and the next one, and where it ends."""
    following = re.compile(r"\s*([A-Za-z°]+)").match(text, position)
    if following and (joined := _PAIRS.get(f"{word.lower()} {following[1].lower()}")):
        return _UNITS[joined], following.end()
    word = word.replace("° ", "°")
    if (unit := _known(word)) is not None:
        return unit, position
    return (
        (_base(f"noun {_stem(word)}"), position) if _stem(word) in {_stem(noun) for noun in more} else (None, position)
    )


@lru_cache(maxsize=1024)
def _known(word: str) -> Unit | None:
    """A unit by its spelling; words may be capitalised, symbols may not change their case."""
    if word in _UNITS:
        return _UNITS[word]
    bare = word.rstrip(".")
    return _UNITS.get(bare) or (_UNITS.get(bare.lower()) if len(bare) > 3 else None)


def _stem(word: str) -> str:
    """A noun without the ending of its plural."""
    word = word.lower()
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    return word.removesuffix("s") if len(word) > 3 and not word.endswith("ss") else word
