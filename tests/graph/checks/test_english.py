"""The checks know English words, so they abstain on a question in another language."""

from __future__ import annotations

import pytest

from graph import Context, build_graph
from graph.checks.english import in_english
from tests.graph.conftest import Serve, judged, passages_tool, plan_text

ENGLISH = """
What is the capital of Peru?
Who designed the Forth Bridge?
How many seats does the Opera of Valdane have?
When was the Eiffel Tower opened?
Is 391 a prime number?
What is 17 * 23 - 5?
487 * 263 - 1999
Compute 17 times 23.
Calculate the area of a circle with radius 7.
Convert 45 degrees Celsius to Fahrenheit.
Half of 74 plus seven
Square root of 1764
Solve x^2 - 5x + 6 = 0 for x.
Sort 5, 3, 9, 1 in ascending order.
Which is longer, the Rhine or the Danube?
Which singer born in Sarn recorded more albums, Ida Renk or Lena Pell?
Are both magazines British?
Is Lima or Cusco the capital of Peru?
Were Scott Derrickson and Ed Wood of the same nationality?
Put Alma, Bruno and Cleo in order of age.
In what year did the founder of Port Ellery die?
On which day of the week did 20 July 1969 fall?
Name the largest city in Switzerland.
List all prime factors of 1260.
A train leaves at 9:45 pm and arrives at 11:05 pm. How long does it take?
Anna buys 14 apples at 3 euros each. What does she pay?
Natalia sold clips to 48 of her friends in April, and half as many in May. How many clips did she sell altogether?
If x is minus forty-two, what is x squared?
Why is the sky blue?
Explain how a refrigerator works.
Describe the plot of Emma in two sentences.
Tell me about Ada Lovelace.
Translate "Guten Morgen, wie geht es dir?" into English.
Who wrote Der Zauberberg and Die Buddenbrooks?
Who directed La vita è bella?
What does the French phrase "je ne sais quoi" mean?
How far is it from Zürich to Genève?
How old was Ada Lovelace when she died?
What age did Edwin Saar reach?
By how many percent did the price rise from 80 to 92?
What's 15% of 64.20?
How many letters are in the name Alexander?
Write 1994 in Roman numerals.
Reverse the word possessiveness.
Which planet has the most moons?
Who won the Eurovision Song Contest in 1998?
Summarize the attached file.
Count the vowels in Mississippi.
Factorise 2310.
Show me five random numbers between 1 and 10.
what is the population of berlin
who was the first man in space
capital of australia
weather in london tomorrow
Simplify 3x + 4x - 2.
Does water boil at 90 degrees on Mont Blanc?
Can a penguin fly?
Please add twelve, thirty and 45.
Find the author of the novel The Age of Innocence.
Two numbers add up to 40 and differ by 6. Give both.
"""
GERMAN = """
Was ist die Hauptstadt von Peru?
Wer hat die Brücke von Mostar gebaut?
Wie viele Einwohner hat Berlin?
Im Kino sind zwanzig Reihen mit je fünfzehn Plätzen. Wie viele Plätze sind es?
Ein Auto kostet 12.500 Euro. Was kosten 3 Autos?
Welcher Wochentag ist der 1. Mai 2025?
Warum ist der Himmel blau?
Wann wurde Goethe geboren?
Welcher Fluss ist länger, der Rhein oder die Donau?
Wie alt war Ada Lovelace, als sie starb?
Nenne alle Primzahlen zwischen 10 und 50.
Wer hat das Lied Smells Like Teen Spirit geschrieben?
"""
FRENCH = """
Quelle est la capitale du Pérou ?
Un pain coûte 3,50 euros. Combien coûtent 4 pains ?
Il y a vingt rangées de quinze sièges. Combien de sièges y a-t-il ?
Qui a construit la tour Eiffel ?
Quand est né Victor Hugo ?
Quel fleuve est le plus long, le Rhin ou la Loire ?
Combien font dix-sept fois vingt-trois ?
Pourquoi le ciel est-il bleu ?
Quel âge avait Ada Lovelace à sa mort ?
Calcule la somme des nombres de 1 à 100.
Dans quelle ville se trouve le musée du Louvre ?
Est-ce que 391 est un nombre premier ?
"""
SPANISH = """
¿Cuál es la capital de Perú?
¿Cuántas lunas tiene Marte?
Hay veinte filas de quince asientos. ¿Cuántos asientos hay?
¿Quién escribió Don Quijote de la Mancha?
¿En qué año murió Cervantes?
¿Qué río es más largo, el Ebro o el Tajo?
Un kilo de manzanas cuesta 2,40 euros. ¿Cuánto cuestan tres kilos?
¿Por qué el cielo es azul?
Calcula la suma de los números del 1 al 100.
¿Qué día de la semana fue el 20 de julio de 1969?
¿Es 391 un número primo?
¿Quién has dicho que dirigió la película Volver?
"""
ITALIAN = """
Qual è la capitale del Perù?
Quante lune ha Marte?
Chi ha scritto la Divina Commedia?
In che anno è nato Leonardo da Vinci?
Quale fiume è più lungo, il Po o il Tevere?
Un'auto costa 12.500 euro. Quanto costano tre auto?
Ci sono venti file di quindici posti. Quanti posti ci sono?
Perché il cielo è blu?
Calcola la somma dei numeri da 1 a 100.
Quanti anni aveva Dante quando morì?
Il numero 391 è primo?
Quale giorno della settimana era il 20 luglio 1969?
"""
DUTCH = """
Wat is de hoofdstad van Peru?
Hoeveel manen heeft Mars?
Wie schreef De ontdekking van de hemel?
In welk jaar werd Rembrandt geboren?
Is Lima of Cusco de hoofdstad van Peru?
Welke rivier is langer, de Rijn of de Maas?
Een brood kost 3,50 euro. Hoeveel kosten vier broden?
Er zijn twintig rijen van vijftien stoelen. Hoeveel stoelen zijn er?
Waarom is de lucht blauw?
Bereken de som van de getallen van 1 tot 100.
Hoe oud was Anne Frank toen ze stierf?
Is 391 een priemgetal?
"""
OTHERS = [line for text in (GERMAN, FRENCH, SPANISH, ITALIAN, DUTCH) for line in text.strip().splitlines()]


@pytest.mark.parametrize("question", ENGLISH.strip().splitlines())
def test_a_question_in_english_is_checked(question: str) -> None:
    assert in_english(question)


@pytest.mark.parametrize("text", ["瓦尔丹歌剧院", "Кто построил мост?"])
def test_texts_in_another_script_are_not(text: str) -> None:
    assert not in_english(text)
    assert not in_english("Who built the bridge?", "a", text)


def test_nine_of_ten_questions_in_other_languages_are_not() -> None:
    assert len(OTHERS) == 60
    assert sum(map(in_english, OTHERS)) <= 6


@pytest.mark.parametrize(
    ("question", "code", "answer"),
    [
        ("Im Kino sind zwanzig Reihen mit je fünfzehn Plätzen. Wie viele Plätze sind es?", "print(20 * 15)", "300"),
        ("Welcher Tag ist der 1. Mai 2025?", "t = ['Mittwoch', 'Donnerstag']\nprint(t[1])", "Donnerstag"),
        ("Wie viel ist 617 * 2?", "print(617 * 2)", "1.234"),
    ],
)
async def test_a_program_and_an_answer_in_another_language_pass(
    serve: Serve, question: str, code: str, answer: str
) -> None:
    server = serve(planner=plan_text("python"), executor=f"```python\n{code}\n```", verifier=judged(answer))
    context = Context(model=server.spec, checks="on")
    state = await build_graph(tools=["python"]).ainvoke({"question": question}, context=context)
    assert (len(state["memory"]), state["memory"][0]["error"], state["ended_by"]) == (1, None, "verifier")
    assert state["memory"][0]["verdict"]["answer"] == answer


async def test_was_is_no_english_question_of_yes_or_no(serve: Serve) -> None:
    server = serve(planner=plan_text("look_up", "Finde die Hauptstadt von Peru"), verifier=judged("Hong Kong"))
    await build_graph(tools=[passages_tool(plain_words=True)]).ainvoke(
        {"question": "Was ist die Hauptstadt von Peru?"}, context=Context(model=server.spec, checks="on")
    )
    assert len(server.asked("verifier")) == 1
