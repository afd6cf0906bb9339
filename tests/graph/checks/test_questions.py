"""What a question asks for, read from its words."""

import pytest

from graph.checks.questions import is_about_words, is_computed, names_in


@pytest.mark.parametrize(
    "question",
    [
        "Who directed the film Total Recall?",
        'Who recorded the album "the fastest man"?',
        "Who won the Eurovision Song Contest in 1998?",
        "Who won the contest of Valdane?",
        "Which country is Mount Everest in?",
        "Which river flows through Budapest?",
        "Which forest lies west of Sarn?",
        "Who wrote the novel The Age of Innocence?",
        "What is the Bronze Age?",
        "Who played the guest in the film Ronin?",
        "Which school did Karl Venn attend at the age of twelve?",
        "Who was the first president of Estonia?",
    ],
)
def test_words_of_names_and_ordinary_words_ask_for_no_amount(question: str) -> None:
    assert not is_computed(question)


@pytest.mark.parametrize(
    "question",
    [
        "What is the area in square metres of the picture The Harvest?",
        "What age did Edwin Saar reach?",
        "What is Valdane's total area?",
        "What does a visit to the Valdane Museum cost?",
        "Write 7/8 as a percentage.",
        "Who is the oldest singer of Valdane?",
        "Which is the heaviest bell of Sarn?",
        "Who was born first, Ida Renk or Lena Pell?",
    ],
)
def test_an_amount_or_a_choice_is_computed(question: str) -> None:
    assert is_computed(question)


@pytest.mark.parametrize(
    "question",
    [
        "It has 26 rows of 32 seats.\nHow many seats has it?",
        "It has 26 rows of 32 seats.  How many seats has it?",
        "(a) How many moons does Mars have?",
        "- How many moons does Mars have?",
        "• How many moons does Mars have?",
        '"How many moons does Mars have?"',
        "“How many moons does Mars have?”",
        'He asked: "How many moons does Mars have?"',
    ],
)
def test_what_begins_a_line_an_item_or_a_quotation_is_read(question: str) -> None:
    assert is_computed(question)
    assert set(names_in(question)) <= {"Mars"}


@pytest.mark.parametrize("line", ["Round to whole metres.", "Calculate it.", "Thank you!\nTom", "1. Round it."])
def test_the_first_word_of_a_line_is_no_name(line: str) -> None:
    question = f"What is the height difference between the Eiffel Tower and Big Ben?\n{line}"
    assert names_in(question) == ["Eiffel Tower", "Big Ben"]


@pytest.mark.parametrize(
    ("question", "names"),
    [
        ("Who is older, Ida Renk or Lena Pell?", ["Ida Renk", "Lena Pell"]),
        ("Who wrote the novel Emma (Austen), or “Persuasion”?", ["Emma", "Austen", "Persuasion"]),
        ("How far is it from Bern/Zug to L'Aquila?", ["Bern", "Zug", "Aquila"]),
        ("How old is the firm of Moss & Hill?", ["Moss", "Hill"]),
    ],
)
def test_a_name_may_follow_a_comma_or_stand_in_brackets(question: str, names: list[str]) -> None:
    assert names_in(question) == names


def test_a_name_has_all_its_words() -> None:
    question = "Which was built first, the Golden Gate Bridge or Saint Orla's Hospital in May?"
    assert names_in(question) == ["Golden Gate Bridge", "Saint Orla's Hospital"]
    assert names_in(question, ["A bridge at a golden gate.", "The hospital of Orla"]) == ["Saint Orla's Hospital"]


def test_names_are_read_where_the_question_asks() -> None:
    story = "Then Xaver went to Zora and met Quill. " * 100
    assert names_in(f"{story}{'He slept. ' * 60}How many people live in Berlin?") == ["Berlin"]


@pytest.mark.parametrize(
    ("question", "about"),
    [
        ("How many letters are in the name Alexander?", True),
        ("How many syllables does Mississippi have?", True),
        ("How many distinct permutations does Mississippi have?", True),
        ("What is the sum of the Roman numerals MCM and XII?", True),
        ("What is the sum of the Fibonacci numbers?", True),
        ("How many numbers did the Opera of Valdane sing?", False),
        ("What is the number of seats of the Opera of Valdane?", False),
        ("How many seats does the Opera of Valdane have?", False),
    ],
)
def test_a_question_may_be_about_a_word(question: str, about: bool) -> None:
    assert is_about_words(question) == about
