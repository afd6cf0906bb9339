"""Reading what models write, forgivingly and without guessing.

Small models wrap a good step in Markdown, JSON, tags or chatter. All of that is read. What is never done is to invent
a choice: a draft in the thinking decides nothing, a reply that names no known tool, or could mean two, is a failure
with a reason, and a sentence that both stops and goes on is undecided.

Every reader starts from `without_thinking`. Code, JSON and tool names are each read in one place (`code`, `json_text`,
`tool_names`), whoever asks.
"""

from graph.parsing.answers import parse_answer
from graph.parsing.call_forms import Arguments
from graph.parsing.calls import calls_in
from graph.parsing.code import code_in
from graph.parsing.json_text import find_json, json_values
from graph.parsing.plans import parse_plan
from graph.parsing.thinking import without_thinking
from graph.parsing.tool_names import match_tool, tools_named
from graph.parsing.verdicts import Judgement, parse_verdict, reads_as_stop

__all__ = [
    "Arguments",
    "Judgement",
    "calls_in",
    "code_in",
    "find_json",
    "json_values",
    "match_tool",
    "parse_answer",
    "parse_plan",
    "parse_verdict",
    "reads_as_stop",
    "tools_named",
    "without_thinking",
]
