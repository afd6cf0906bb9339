from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph.parsing import parse_verdict, reads_as_stop
from graph.parsing.verdicts import Judgement


@pytest.mark.parametrize(
    ("text", "stop"),
    [
        ("STOP", True),
        ("Conclusion: STOP", True),
        ("We can stop here.", True),
        ("There is no need to continue.", True),
        ("We should not continue; stop.", True),
        ("CONTINUE", False),
        ("We should not stop yet.", False),
        ("We shouldn't stop yet", False),
        ("Do not stop: continue", False),
        ("It would be premature to stop.", False),
        ("We cannot, at this point, stop.", False),
        ("continue rather than stop", False),
        ("stop or continue", None),
        ("", None),
        ("All good.", None),
    ],
)
def test_stop_is_read_with_its_negation(text: str, stop: bool | None) -> None:
    assert reads_as_stop(text) is stop


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ('{"reason": "r", "result": "accept", "next": "stop"}', (True, True, "r")),
        ('{"reason": "r", "result": "reject", "next": "continue"}', (False, False, "r")),
        ('```json\n{"analysis": "r", "verdict": "accept", "decision": "CONTINUE"}\n```', (True, False, "r")),
        ('{"reason": "r", "accepted": true, "stop": false}', (True, False, "r")),
        ("{'reason': 'r', 'result': 'accept', 'next': 'stop',}", (True, True, "r")),
        ('The tool said {"temperature": 5}.\nReason: r\nResult: accept\nNext: stop', (True, True, "r")),
        (
            '{"result": "reject", "next": "continue"}\nNo: {"reason": "r", "result": "accept", "next": "stop"}',
            (True, True, "r"),
        ),
        ("<reason>r</reason><result>reject</result><next>continue</next>", (False, False, "r")),
        ("Reason: r\nResult: reject\nNext: continue", (False, False, "r")),
        ("Explanation: r\nConclusion: We should not stop yet", (True, False, "r")),
    ],
)
def test_verdicts_are_read(reply: str, verdict: tuple[bool, bool, str]) -> None:
    found = parse_verdict(reply)
    assert not isinstance(found, str)
    assert (found.accepted, found.stop, found.reason) == verdict


@pytest.mark.parametrize(
    ("fields", "judgement"),
    [
        ({"missing": "the year.", "answer": "1900"}, (True, False, "r", "", "the year")),
        ({"missing": "Nothing.", "answer": "1900"}, (True, True, "r", "1900", "")),
        ({"missing": "nothing", "answer": "unknown"}, (True, False, "r", "", "")),
        ({"missing": "none"}, (True, True, "r", "", "")),
        ({"answer": None}, (True, False, "r", "", "")),
        ({"answer": "Not yet known."}, (True, False, "r", "", "")),
        ({"answer": "I don't know"}, (True, False, "r", "", "")),
        ({"answer": "Unknown, the search gave nothing"}, (True, False, "r", "", "")),
        ({"answer": "Not known from the results."}, (True, False, "r", "", "")),
        ({"answer": "unknown (no source)", "missing": "none"}, (True, False, "r", "", "")),
        ({"missing": "No. 5's year", "answer": "1900"}, (True, False, "r", "", "No. 5's year")),
        (
            {"missing": "none of the results tells it", "answer": "1"},
            (True, False, "r", "", "none of the results tells it"),
        ),
        ({"answer": "Unknown - The passages are about Ada Lovelace"}, (True, False, "r", "", "")),
        ({"answer": "Unknown (No Source)"}, (True, False, "r", "", "")),
    ],
)
def test_a_stop_that_contradicts_itself_goes_on(fields: dict[str, object], judgement: tuple[object, ...]) -> None:
    assert parse_verdict(json.dumps({"reason": "r", "result": "accept", "next": "stop", **fields})) == judgement


@pytest.mark.parametrize(
    "answer",
    [
        "No",
        "no.",
        "None",
        "No. 5",
        "Nothing Else Matters",
        "Unknown Pleasures",
        "N/A Records",
        "-",
        "[]",
        "No Country for Old Men",
        "Unknown (2011 film)",
        "Unknown - Liam Neeson",
    ],
)
def test_an_answer_that_begins_as_if_it_were_unknown_stops(answer: str) -> None:
    reply = {"reason": "r", "result": "accept", "next": "stop", "missing": "nothing", "answer": answer}
    assert parse_verdict(json.dumps(reply)) == (True, True, "r", answer, "")


@pytest.mark.parametrize(
    "missing",
    [
        [],
        {},
        False,
        None,
        "",
        "-",
        "...",
        ["nothing"],
        "Nothing.",
        "no information is missing",
        "nothing else",
        "unknown",
        "Nothing, the answer is complete",
        "None - all parts are told.",
        "nothing (42 is the result)",
        "N/A (complete)",
        "No. The answer is complete.",
        "**None**: all is known",
        "Nothing, no further information is needed.",
        "none; the answer is 42",
        "nothing, 17 * 3 + 2 is 53",
        "nothing (17 * 3 + 2 = 53)",
        "Nothing, the result is 53",
        "Nothing, all facts are there",
        "none (the population is 5 million)",
        "nothing - we have both dates",
        "No, both years are in the passages",
        "nothing to compute",
        "nothing more to do",
        "nothing is left to be found",
        "nothing at all",
        "No more steps are necessary",
    ],
)
def test_where_nothing_is_missing_a_stop_stops(missing: object) -> None:
    reply = {"reason": "r", "result": "accept", "next": "stop", "missing": missing, "answer": 5}
    assert parse_verdict(json.dumps(reply)) == (True, True, "r", "5", "")


@pytest.mark.parametrize(
    "missing",
    [
        "No, the birth year is still missing",
        "nothing; but the year of death",
        "nothing - except the year that is given in the chat",
        "None: the year isn't known",
        "no - the capital",
        "No, nothing of the year is told",
        "None (the year of death has to be found)",
        "No, the birth year",
        "nothing to compare it with",
    ],
)
def test_what_is_missing_may_come_after_a_no(missing: str) -> None:
    reply = {"reason": "r", "result": "accept", "next": "stop", "missing": missing, "answer": 5}
    assert parse_verdict(json.dumps(reply)) == (True, False, "r", "", missing)


def test_an_undecided_verdict_is_a_complaint() -> None:
    assert isinstance(parse_verdict("<think>Result: accept\nNext: stop"), str)
    assert isinstance(parse_verdict(""), str)
    assert isinstance(parse_verdict("It all looks fine to me."), str)
    assert isinstance(parse_verdict('{"reason": "stop", "result": "accept"}'), str)


@given(st.text(max_size=400) | st.text(alphabet='{}[]":,abc \n`*<>#-.', max_size=300))
def test_no_text_breaks_the_parser(text: str) -> None:
    assert isinstance(parse_verdict(text), str | Judgement)


@pytest.mark.parametrize(
    ("answer", "missing", "stop"),
    [("Lima", "nothing", True), ("unknown", "nothing", False), ("Lima", "its height", False), ("Lima", "", True)],
)
def test_without_a_word_on_what_comes_next_a_run_stops_once_nothing_is_missing(
    answer: str, missing: str, stop: bool
) -> None:
    reply = {"reason": "r", "result": "accept", "answer": answer, "missing": missing}
    judgement = parse_verdict(json.dumps(reply))
    assert isinstance(judgement, Judgement)
    assert judgement.stop == stop
