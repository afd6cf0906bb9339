"""Names of persons in the forms that people use: with a title or without, with middle names or without.

A middle name is what tells namesakes apart (John Adams, John Quincy Adams), so it may be left out only where the
family name is not a common one, and it may never be put in or exchanged. A single name left after a title is taken
away could be anything (Victoria, America) and is not accepted.
"""

from __future__ import annotations

import re

from evals.scorers.normal import fold
from evals.scorers.words import words

_TITLES = """
    his holiness, her majesty, his majesty, prime minister, vice president, attorney general, major general,
    lieutenant general, brigadier general, lieutenant colonel, rear admiral, vice admiral, field marshal, crown
    prince, grand duke, sir, dame, lord, lady, king, queen, prince, princess, emperor, empress, president,
    chancellor, senator, governor, mayor, ambassador, judge, justice, secretary, minister, doctor, dr, professor,
    prof, mr, ms, miss, mister, general, gen, colonel, col, major, maj, captain, capt, lieutenant, lt, sergeant,
    sgt, admiral, commander, marshal, pope, cardinal, archbishop, bishop, father, reverend, rev, rabbi, imam,
    sheikh, sultan, tsar, czar, duke, duchess, count, countess, baron, baroness, earl, astronaut, actor, actress,
    author, singer, coach, footballer
"""
"""What may stand before a name without being part of it. Not "Mrs.", which goes before the husband's name as well."""
_ALTERNATIVES = "|".join(title.strip() for title in _TITLES.split(","))
_TITLE = re.compile(rf"(?:the\s+)?(?P<title>{_ALTERNATIVES})\.?\s+(?P<name>\S.*)", re.IGNORECASE)
_NUMERAL = re.compile(r"[ivx]{1,5}")
_SUFFIXES = frozenset(("jr", "sr", "junior", "senior", "phd", "md", "esq"))
_PARTICLES = words("""
    von van de der den da di du del della la le al bin ibn dos ter zu of
""")
_NO_PERSON = words("""
    academy airlines airport association avenue band bank bay beach bridge castle center centre church city club
    college company corporation council county district empire fc film forest foundation group high hill hills
    hospital house inc institute international island islands kingdom lake league library london lakers military
    minister mountain mountains museum national navy new north south east west ocean office palace park party
    province railway republic river road royal school sea society square state station street team theatre theater
    times tower town union united university valley war world york angeles francisco diego jose los las san santa
    saint st mount fort port lower upper great grand prix cup award records
""")
_COMMON_FAMILY_NAMES = words("""
    smith johnson williams brown jones garcia miller davis rodriguez martinez hernandez lopez gonzalez wilson
    anderson thomas taylor moore jackson martin lee perez thompson white harris sanchez clark ramirez lewis robinson
    walker young allen king wright scott torres nguyen hill flores green adams nelson baker hall rivera campbell
    mitchell carter roberts gomez phillips evans turner diaz parker cruz edwards collins reyes stewart morris
    morales murphy cook rogers gutierrez ortiz morgan cooper peterson bailey reed kelly howard ramos kim cox ward
    richardson watson brooks chavez wood james bennett gray mendoza ruiz hughes price alvarez castillo sanders patel
    myers long ross foster jimenez powell jenkins perry russell sullivan bell coleman butler henderson barnes fisher
    vasquez simmons stevens stevenson jordan patterson alexander hamilton graham reynolds griffin wallace west cole
    hayes bryant gibson ellis ford marshall owens mcdonald harrison wells woods shaw rice robertson hunt black
    daniels palmer mills nichols grant knight ferguson rose stone dunn perkins hudson spencer gardner stephens payne
    pierce berry matthews arnold wagner willis ray watkins olson carroll duncan snyder hart cunningham bradley lane
    andrews harper fox riley armstrong carpenter weaver greene lawrence elliott sims austin peters kelley franklin
    lawson fields ryan schmidt carr wheeler chapman oliver montgomery richards williamson johnston banks meyer
    bishop mccoy howell morrison hansen garza harvey little burton stanley george jacobs reid fuller lynch dean
    gilbert garrett welch larson frazier burke hanson day mendez moreno bowman medina fowler brewer hoffman carlson
    silva pearson holland bush bach strauss mann huxley dumas johansson andersson karlsson nilsson eriksson olsen
    larsen jensen nielsen muller schneider fischer weber singh kumar khan wang li zhang liu chen yang huang zhao wu
    zhou park choi tanaka suzuki sato ivanov rossi ferrari santos oliveira souza fernandez mohamed ahmed ali hussein
""")
"""Family names that many well-known persons share."""
_GIVEN_NAMES = words("""
    aaron abraham adam agatha alan albert alexander alexandra alfred alice amy andrea andrew angela ann anna anne
    anthony antonio arthur audrey august barack barbara benjamin bernard betty bob carl carlos carol caroline
    catherine cecil charles charlotte christian christina christine christopher claude clara daniel david deborah
    denis diana donald dorothy douglas edgar edward edwin eleanor elizabeth ella emily emma eric ernest eugene eva
    felix florence frances francis francois frank franklin franz frederick friedrich gabriel gary george gerald
    giovanni giuseppe grace gregory guy hannah hans harold harriet harry heinrich helen henri henry herbert hermann
    howard hugh ian ida igor isaac isabella ivan jack jacob jacques james jan jane janet jason jean jeffrey jennifer
    jessica jim joan johan johann johannes john jonathan joseph josephine joshua juan judith jules julia julie
    julius karen karl katherine kenneth kevin larry laura lawrence leo leonard leonardo leopold lewis linda lisa
    louis louisa louise lucy ludwig luis margaret maria marie mark martha martin mary matthew max maximilian michael
    michelle miguel mikhail nancy napoleon nathaniel neil nicholas nikolai nikola oliver oscar otto pablo patricia
    patrick paul pedro peter philip pierre rachel ralph raymond rebecca richard robert roger ronald rosa rudolf
    rudolph ruth samuel sandra sara sarah sebastian sergei sharon simon sofia sophia sophie stefan stephen steven
    stephanie susan theodore theresa thomas timothy ulysses valentina victor victoria vincent virginia vladimir
    walter werner wilhelm william winston wolfgang woodrow yuri
""")
"""Names by which a person is known as one where the question does not ask for one."""
_ASKS_FOR_PERSON = re.compile(r"\b(?:who|whom|whose)\b", re.IGNORECASE)


def same_person(gold: str, answer: str, question: str) -> bool:
    """Whether two texts are the name of one person, in forms that leave no doubt who it is."""
    left, right = _words(gold), _words(answer)
    if not left or not right:
        return False
    return (
        _is_titled(answer, left)
        or _is_titled(gold, right)
        or _is_shortened(left, right, question)
        or _has_same_initials(left, right)
    )


def _words(name: str) -> list[str]:
    """The words of a name in one spelling; empty if it holds anything but words."""
    found = fold(name).replace(".", " ").split()
    return found if all(word.replace("-", "").isalpha() for word in found) and 1 <= len(found) <= 8 else []


def _is_titled(text: str, name: list[str]) -> bool:
    """Whether a text is a title and that name, which has two parts at least."""
    match = _TITLE.fullmatch(text.strip())
    if match is None or len(name) < 2 or _words(match["name"]) != name or _TITLE.match(match["name"]):
        return False
    parts = [word for word in name if word not in _SUFFIXES]
    capitalised = match["name"].islower() or match["name"][:1].isupper()
    return capitalised and len(parts) > 1 and parts[0] not in _PARTICLES and not set(name) & _NO_PERSON


def _is_shortened(gold: list[str], answer: list[str], question: str) -> bool:
    """Whether the answer is the reference without the names in the middle."""
    middle = gold[1:-1]
    if len(answer) != 2 or [gold[0], gold[-1]] != answer or not 1 <= len(middle) <= 3:
        return False
    is_person = gold[0] in _GIVEN_NAMES or _ASKS_FOR_PERSON.search(question) is not None
    tells_apart = gold[-1] in _COMMON_FAMILY_NAMES or _NUMERAL.fullmatch(gold[-1]) or gold[-1] in _SUFFIXES
    names_only = all(len(word) > 1 for word in gold) and not set(middle) & (_PARTICLES | _SUFFIXES | {"and"})
    return is_person and names_only and not tells_apart and not set(gold) & _NO_PERSON


def _has_same_initials(gold: list[str], answer: list[str]) -> bool:
    """Whether two names differ in middle names that are an initial on one side (`John F. Kennedy`)."""
    if len(gold) != len(answer) or len(gold) < 3 or (gold[0], gold[-1]) != (answer[0], answer[-1]) or len(gold[0]) < 2:
        return False
    pairs = list(zip(gold[1:-1], answer[1:-1], strict=True))
    return len(gold[-1]) > 1 and all(a == b or (min(len(a), len(b)) == 1 and a[0] == b[0]) for a, b in pairs)
