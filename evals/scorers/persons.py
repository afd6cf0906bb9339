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
    author, singer, coach, footballer, sen, rep, gov, madame, madam, ceo, chairman, chairwoman, director, painter,
    poet, novelist, writer, composer, physicist
"""
"""What may stand before a name without being part of it. Not "Mrs.", which goes before the husband's name as well."""
_ATTRIBUTES = (
    r"the|former|late|current|then|ex|us|u\.s\.|uk|american|british|english|german|french|italian|russian|indian|chinese|"
    r"japanese|canadian|australian|spanish|israeli|mexican|brazilian|polish|swedish|irish|scottish"
)
"""What may stand before a title."""
_ALTERNATIVES = "|".join(title.strip() for title in _TITLES.split(","))
_TITLE = re.compile(rf"(?:(?:{_ATTRIBUTES})[\s-]+){{0,3}}(?P<title>{_ALTERNATIVES})\.?\s+(?P<name>\S.*)", re.IGNORECASE)
_NUMERAL = re.compile(r"[ivx]{1,5}")
_SUFFIXES = frozenset(("jr", "sr", "junior", "senior", "phd", "md", "esq"))
_PARTICLES = words("""
    von van de der den da di du del della la le al bin ibn dos ter zu of
""")
_JOINING = words("and in with without on to for at the")
_NO_PERSON = words("""
    academy airlines airport album albums angeles arena association avenue award awards band bank bay beach
    boulevard bridge brothers building canal castle cathedral center centre choir church city club college company
    corporation council county crater cup dam desert diego disease district east effect empire ensemble falls fc
    festival film forest fort foundation francisco glacier grand great group gulf harbor harbour high highway hill
    hills hospital hotel house inc institute international island islands jose kingdom knights lake lakers las law
    league library london los lower magazine memorial military mine minister mount mountain mountains movie museum
    national navy new north novel observatory ocean office orchestra palace park party peninsula port prix province
    quartet railway records reef republic river road royal saint san santa school sea series show sisters society
    song south sox square st stadium state station strait street syndrome team telescope theater theatre theory
    times tower town trail trio union united university upper valley war warriors west world yankees york zoo
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
    aaron abigail abraham adam adele agatha ahmed akira alan albert alejandro aleksandr alessandro alexander
    alexandra alexei alfonso alfred alice alicia allison amanda amelia amy anastasia anatoly andre andrea andreas
    andrei andrew angela angelo anita ann anna anne annie ansel anthony anton antonio archibald ariana arnold arthur
    astrid audrey axl barack barbara beatrice ben bengt benito benjamin bernard bernhard bertha beth betty bill
    bjorn blanche bob boris brenda brian bruce bruno calvin camille carl carla carlos carmen carol caroline caspar
    catherine cecil cesar charles charlotte chester chloe christian christina christine christopher clara clarence
    claude claudia claudio clement clifford colin connie constance cornelius craig curtis cynthia daisy dan daniel
    danielle dave david deborah denis dennis derek desmond diana dick diego dietrich dimitri dmitri dolores dominic
    don donald dora doris dorothy douglas duncan dwight ebenezer edgar edith edmund eduardo edvard edward edwin
    eileen eleanor elena eli elias elisabeth eliza elizabeth ella ellen elvis emanuel emil emile emilio emily emma
    enrico enrique eric erich erik erika ernest ernst erwin esther ethan ethel eugene eva evelyn ezra fatima
    federico felicia felix ferdinand fernando fidel fiona frances francesca francesco francis francisco francois
    frank franklin franz fred freddie frederic frederick frida friedrich fritz fyodor gabriel gabriela galileo gary
    genevieve geoffrey georg george gerald geraldine gerhard gertrude gilbert gina giovanni giuseppe gloria gordon
    gottfried gottlieb grace graham gregory greta guglielmo guillermo gunther gustav gustave guy hannah hannibal
    hans harold harriet harry harvey hazel hector heinrich heinz helen helena henri henrietta henrik henry herbert
    herman hermann hilary hilda hillary holly horatio howard hugh hugo humphrey ian ida ignacio igor immanuel indira
    ines ingmar ingrid ira irene iris irving isaac isabel isabelle ismail ivan jack jackie jacob jacqueline jacques
    jake jakob james jan jane janet janis jason jay jean jeanne jeff jeffrey jennifer jenny jeremy jerome jerry
    jesse jessica jill jim jimmy joachim joan joanna joe joel johan johann johanna johannes john jon jonathan jorge
    jose josef joseph josephine josh joshua joyce juan judith jules julia julie juliet juliette julius justin karen
    karl kate katharine katherine kathleen kathryn keith ken kenneth kevin kim kirk klaus konrad kristen kristin
    kurt kyle larry lars laura lawrence leila lena leo leon leonard leonardo leonora leopold leslie lewis liam lily
    linda lionel lisa lorenzo lorraine louis louisa louise lucas lucia luciano lucien lucius lucy ludwig luigi luis
    luke lydia lyndon mabel madeleine mahatma malcolm manuel marc marcel marco marcus margaret margarete margaretha
    marguerite maria marian marianne marie marilyn mario marion mark marlon marta martha martin martina marvin mary
    mathilde matilda matteo matthew matthias maurice max maximilian maxwell melanie melissa mercedes merlin mia
    michael michelle mick miguel mikhail mildred millard milton miranda mohammed mohandas molly monica moritz moses
    muhammad myra nadia nancy naomi napoleon natalia natalie nathalie nathan nathaniel ned neil nicholas nicola
    nicolas nicole niels nigel nikola nikolai nina nora norbert norma norman octavia olaf oleg olga oliver olivia
    orson orville oscar oskar osvaldo otis otto pablo pamela pascal patricia patrick patti paul pauline pedro peggy
    penelope percy pete peter phil philip philippe phyllis pierre pietro polly preston priscilla quentin
    rabindranath rachel rafael raimund ralph ramon randolph raoul raphael raul raymond rebecca regina reginald rene
    rex richard rita rob robert roberta roberto rodney roger roland rolf romano ron ronald rosa rosalind rosemary
    ross rowan roy ruben rudolf rudolph rufus rupert russell ruth ryan sally salvador sam samantha samuel sandra
    sara sarah saul sean sebastian selma serena sergei seth shane sharon sheila shirley sidney siegfried sigmund
    silvia silvio simon sinclair sofie solomon sonia sophia sophie sophus stefan stella stephanie stephen steve
    steven stuart susan sven sylvester sylvia tamara tanya tatiana ted terence teresa terry thea thelma theo
    theodore theresa thomas tim timothy tina tobias todd tom tommaso toni tony tracy truman ulysses umberto ursula
    valentina valerie vanessa vasily vera vernon veronica victor viktor vincent vincente vinnie viola vivian vivien
    vladimir wallace walter wanda warren wendy werner wesley wilbur wilfred wilhelm wilhelmina will willard willem
    william willy winifred winston wolfgang wolfram woodrow yasmin yolanda yuri yves yvonne zachary zoe zora
""")
"""Names by which a person is told from a band, a team or a place."""


def same_person(gold: str, answer: str) -> bool:
    """Whether two texts are the name of one person, in forms that leave no doubt who it is."""
    left, right = _words(gold), _words(answer)
    if not left or not right:
        return False
    return (
        _is_titled(answer, left)
        or _is_titled(gold, right)
        or _is_shortened(left, right)
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


def _is_shortened(gold: list[str], answer: list[str]) -> bool:
    """Whether the answer is the reference without the names in the middle."""
    family = _family_of(gold)
    middle = gold[1 : len(gold) - len(family)]
    if answer != [gold[0], *family] or not 1 <= len(middle) <= 3:
        return False
    is_person = gold[0] in _GIVEN_NAMES
    tells_apart = gold[-1] in _COMMON_FAMILY_NAMES or _NUMERAL.fullmatch(gold[-1]) or gold[-1] in _SUFFIXES
    names_only = all(len(word) > 1 for word in gold) and not set(middle) & (_PARTICLES | _SUFFIXES | _JOINING)
    return is_person and names_only and not tells_apart and not set(gold) & _NO_PERSON


def _family_of(name: list[str]) -> list[str]:
    """The last name, with the particles before it (`van Gogh`)."""
    start = len(name) - 1
    while start > 1 and name[start - 1] in _PARTICLES:
        start -= 1
    return name[start:]


def _has_same_initials(gold: list[str], answer: list[str]) -> bool:
    """Whether two names differ in middle names that are an initial on one side (`John F. Kennedy`)."""
    if len(gold) != len(answer) or len(gold) < 3 or (gold[0], gold[-1]) != (answer[0], answer[-1]) or len(gold[0]) < 2:
        return False
    pairs = list(zip(gold[1:-1], answer[1:-1], strict=True))
    return len(gold[-1]) > 1 and all(a == b or (min(len(a), len(b)) == 1 and a[0] == b[0]) for a, b in pairs)
