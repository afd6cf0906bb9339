"""Which code of a reply runs: the last complete block in the tool's language, whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph.parsing import code_in

F = "```"


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (f"{F}python\nprint(2)\n{F}", "print(2)"),
        (f"{F}python\nprint(2)", "print(2)"),
        (f"{F}Python\nprint(2){F}", "print(2)"),
        (f"{F}python print(2)\nprint(3)\n{F}", "print(2)\nprint(3)"),
        (f'{F}python title="a"\nprint(3)\n{F}', "print(3)"),
        (f"{F}{{.python}}\nprint(3)\n{F}", "print(3)"),
        (f"{F}python3.12\nprint(3)\n{F}", "print(3)"),
        (f"{F}{{python}}\nprint(3)\n{F}", "print(3)"),
        (f"{F}print(2){F}", "print(2)"),
        (f"{F}python print(2){F}", "print(2)"),
        (f'{F}python\nt = """\n{F}\nhello\n{F}\n"""\nprint(t)\n{F}', 't = """\n```\nhello\n```\n"""\nprint(t)'),
        (
            f'{F}python\nt = """\n{F}python\nhello\n{F}\n"""\nprint(t)\n{F}\nDone.',
            't = """\n```python\nhello\n```\n"""\nprint(t)',
        ),
        (f"{F}{F[0]}python\nt='{F}'\n{F}\n{F}{F[0]}", "t='```'\n```"),
        (f"{F}python\nprint(1\n{F}\nOops:\n{F}python\nprint(2)\n{F}", "print(2)"),
        (f"{F}python\nprint(1)\n\nBetter:\n{F}python\nprint(2)\n{F}", "print(2)"),
        (f"{F}python\nprint(2)\n{F}\nLonger:\n{F}python\nfor i in ra", "print(2)"),
        (f"{F}bash\npip install x\n{F}\n{F}python\nprint(2)\n{F}\n{F}json\n{{}}\n{F}", "print(2)"),
        (f"{F}bash\npip install x\n{F}", ""),
        (f"{F}\nprint(2)\n{F}\nOutput:\n{F}\n2\n{F}", "print(2)"),
        (f"{F}\nprint(2)\n{F}\nThis prints\n{F}\n2\n{F}", "print(2)"),
        (f"{F}py\nprint(2)\n{F}\n{F}text\n2\n{F}", "print(2)"),
        (f"Code: {F}python\nprint(2)\n{F}", "print(2)"),
        (f"- {F}python\n  print(2)\n  {F}", "print(2)"),
        (f"> {F}python\n> print(2)\n> {F}", "print(2)"),
        (f"<code>\n{F}python\nprint(2)\n{F}\n</code>", "print(2)"),
        ("<code>print(2)", "print(2)"),
        ("<code>\nprint(1)\n</code>\nbetter\n<code>\nprint(2)\n</code>", "print(2)"),
        ("print(2)\n</co", "print(2)"),
        ("print(2)<end_code>", "print(2)"),
        ("python\nprint(2)", "print(2)"),
        ("<|python_tag|>print(2)<|eom_id|>", "print(2)"),
        ('{"code": "print(2)"}', "print(2)"),
        ('{"calls": [{"code": "print(2)"}]}', "print(2)"),
        (f'{F}json\n{{"code": "print(2)"}}\n{F}', "print(2)"),
        ('<tool_call>{"name": "python", "arguments": {"code": "print(2)"}}</tool_call>', "print(2)"),
        ('d = {"code": "x"}\nprint(d)', 'd = {"code": "x"}\nprint(d)'),
        (f"{F}python\n    print(2)\n    print(3)\n{F}", "print(2)\nprint(3)"),
        (f"{F}python\r\nprint(2)\r\n{F}\r\n", "print(2)"),
        ("print(2)", "print(2)"),
        (f"x = 'a {F} b'\nprint(x)", f"x = 'a {F} b'\nprint(x)"),
        (f'x = """\n{F}\na\n{F}\n"""\nprint(x)', f'x = """\n{F}\na\n{F}\n"""\nprint(x)'),
        ("<code>\nx = 'a </code> b'\nprint(x)\n</code>", "x = 'a </code> b'\nprint(x)"),
        ("~~~\nprint(2)\n~~~", "print(2)"),
        ("  ~~~py\n  print(2)\n  ~~~", "print(2)"),
        (f"{F}python\nprint(2)\n{F}{F[0]}", "print(2)"),
        ("", ""),
        (f"{F}tool_code\nprint(2)\n{F}", "print(2)"),
        (f"{F}python\n# sketch\n{F}\n{F}python\nprint(2)\n{F}\nrun with {F}bash python x.py{F}", "print(2)"),
        (f"Thought: x\nCode:\n{F}py\nprint(2)\n{F}<end_code>", "print(2)"),
        (f"{F}python\nprint(2)\n{F} This prints the number 2.\nMore {F}x{F}", "print(2)"),
        (f"{F}python\nprint(1)\n{F} wrong, so better:\n{F}python\nprint(2)\n{F}", "print(2)"),
        (f"{F}\npython\nprint(2)\n{F}", "print(2)"),
        ('x = """\n</think>\n"""\nprint(x)', 'x = """\n</think>\n"""\nprint(x)'),
        ("[THINK]hm[/THINK]\nprint(2)", "print(2)"),
    ],
)
def test_the_program_of_a_reply_is_found(reply: str, code: str) -> None:
    assert code_in(reply, "python", "code") == code


def test_other_languages_go_by_their_names() -> None:
    reply = f"{F}sql\nselect 1\n{F}\n{F}python\nprint(2)\n{F}\n{F}sh\nls\n{F}"
    assert [code_in(reply, language) for language in ("sql", "python", "bash", "rust")] == [
        "select 1",
        "print(2)",
        "ls",
        "",
    ]


_LITERALS = st.text(alphabet="ab \n`~'\"\\\\{}<>/", max_size=30).map(repr)


@given(
    st.lists(_LITERALS, min_size=1, max_size=4),
    st.sampled_from([F, F + "`", "~~~"]),
    st.sampled_from(["python", "py", ""]),
)
def test_a_fence_in_a_string_does_not_cut_the_program(literals: list[str], fence: str, tag: str) -> None:
    program = "\n".join(f"print({literal})" for literal in literals)
    assert code_in(f"So:\n{fence}{tag}\n{program}\n{fence}\nThat is it.", "python") == program
    block = f'text = """\n{F}\nquoted\n{F}\n"""\n{program}'
    assert code_in(f"{F}python\n{block}\n{F}\nOutput:\n{F}\nquoted\n{F}", "python") == block


@given(st.text(max_size=300) | st.text(alphabet="`~<>/code \n:py", max_size=200))
def test_no_text_breaks_the_reader(text: str) -> None:
    assert isinstance(code_in(text, "python", "code"), str)
