"""What is read line by line is what the parser reads, to the last column; what cannot be is left to the parser."""

from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vallum.sources import yaml_text
from vallum.sources.marks import Findings, Value
from vallum.sources.yaml_block import block_documents

POLICY = """\
# who may ask the shop
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name:   web  # two spaces more
  annotations: {}
spec:
  podSelector:
    matchExpressions:
    -   key: "app"
        operator: In
        values:
          - 'web'

          - - on
            - 010
          - - a: 1
              b:
            -
              c: x y
      # and nothing
    - # empty
  policyTypes: []
  url: http://user@10.0.0.1:80/?
"""
READ = POLICY.replace("/?", "/").replace("    - # empty\n", "    -\n")

_WORDS = ("x", "x y", "a:b", "1", "010", "on", "~", ".5", "-1", "é", "10.0.0.0/8", "fd00::1", "<<", "", "")
_QUOTES = ('"q"', "'q: #'", '""', "''", "'it''s'", '"\\n"', '"open', "'open", '"a" b')
_SIGNS = ("{}", "[]", "{ }", "{a: b}", "[x]", "{", "*x", "&x", "&x y", "!!str 1", "|", ">-", "a: b", "a:", "@x", "?")


def _line(*parts: tuple[str, ...]) -> st.SearchStrategy[str]:
    return st.tuples(*(st.sampled_from(part) for part in parts)).map("".join)


_dashes = ("", "", "", "- ", "-   ", "- - ")
_keys = ("a: ", "b: ", "app.io/x: ", "c:   ", "d_e: ")
_right = st.one_of(
    _line(("", "  ", "    "), ("", "", "- ", "- - "), ("a:", "b:", "c:", "d:"), ("", "", " ", " # c")),
    _line(("", "  ", "    "), _dashes, _keys, (*_WORDS, "'q'", '"q"', "{}", "[]"), ("", "", " ", "  # c")),
    _line(("", "  ", "    "), ("- ", "- ", "- - "), _WORDS, ("", " ", " # c")),
    _line(("---", "", "# c", "    # c")),
)
_odd = st.one_of(
    _line(
        ("", "  ", " ", "   ", "\t"),
        (*_dashes, "-", "- -", "-- "),
        (*_keys, "", "a:", "on: ", "1: ", '"a": ', "a b: ", "a : ", "? "),
        (*_WORDS, *_QUOTES, *_SIGNS, *([""] * 20)),
        ("", "", " ", " # c", "#c", "\t", " \t# c", ":"),
    ),
    _line(("--- ", "--- x", "--- # c", "---x", "---\t", "...", "%YAML 1.1", "--- |")),
)
_soup = st.lists(st.one_of(_right, _right, _right, _right, _right, _odd), max_size=8).map("\n".join)

_NAMES = ("a", "bc", "d/e", "_f", "app.io/g-h")
_ONE = ("x", "x y", "a:b", "1", "010", "on", "1.5", "10.0.0.0/8", "'q: #'", '"é"', "{}", "[]", "", "", "~", "'it''s'")
_TAILS = ("", "", "", " ", " # c", "\n# c", "\n\n   # c")


def _mapping(draw: st.DrawFn, indent: int, depth: int) -> str:
    """A mapping in block style, each part in one of the ways to write it."""
    text = ""
    for key in draw(st.lists(st.sampled_from(_NAMES), min_size=1, max_size=3, unique=True)):
        below = draw(st.sampled_from(("", "", "map", "list"))) if depth else ""
        tail = draw(st.sampled_from(_TAILS)) + "\n"
        text += " " * indent + key + ":"
        if below:
            deeper = indent + draw(st.integers(0 if below == "list" else 1, 3))
            text += tail + (_list if below == "list" else _mapping)(draw, deeper, depth - 1)
        else:
            text += " " * draw(st.integers(1, 2)) + draw(st.sampled_from(_ONE)) + tail
    return text


def _list(draw: st.DrawFn, indent: int, depth: int) -> str:
    text = ""
    for _ in range(draw(st.integers(1, 3))):
        inside = draw(st.sampled_from(("", "map", "list", "below"))) if depth else ""
        width = draw(st.integers(2, 4))
        start = " " * indent + "-" + " " * (width - 1)
        tail = draw(st.sampled_from(_TAILS)) + "\n"
        if inside == "below":
            text += start.rstrip() + tail + _mapping(draw, indent + width - 1, depth - 1)
        elif inside:
            item = (_list if inside == "list" else _mapping)(draw, indent + width, depth - 1)
            text += start + item[indent + width :]
        else:
            text += start + draw(st.sampled_from(_ONE)) + tail
    return text


@st.composite
def _in_block_style(draw: st.DrawFn) -> str:
    parts = [_mapping(draw, draw(st.sampled_from((0, 0, 2))), 3) for _ in range(draw(st.integers(1, 2)))]
    return "---\n".join(parts)


@st.composite
def _damaged(draw: st.DrawFn) -> str:
    """A text that is right, with some characters taken out or put in."""
    text = draw(_in_block_style())
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(text)))
        kept = draw(st.integers(0, 2))
        text = text[:at] + draw(st.text(" -:#'\"\n\t{}[]a,&*|\r.%~1\u2028", max_size=2)) + text[at + kept :]
    return text


def shown(value: Value) -> object:
    """All of a value but its size, which only the parser needs."""
    data = value.data
    inner: object = data
    if isinstance(data, tuple):
        inner = [shown(item) for item in data]
    elif isinstance(data, dict):
        inner = {key: shown(item) for key, item in data.items()}
    return inner, value.spot, value.text, dict(value.keys)


def read(text: str) -> tuple[list[str], list[str]]:
    findings = Findings("a.yaml")
    values = [repr(shown(value)) for value in yaml_text.documents(text, findings)]
    return values, [str(error) for error in findings.errors]


def parsed(text: str) -> tuple[list[str], list[str]]:
    """The same by the parser alone, which then has the whole text at once."""
    with patch.object(yaml_text, "_BOUND", ("",)):
        return read(text)


@given(_soup)
def test_lines_of_every_sort_are_read_as_the_parser_reads_them(text: str) -> None:
    assert read(text) == parsed(text)


@given(_damaged())
def test_damaged_documents_are_read_as_the_parser_reads_them(text: str) -> None:
    assert read(text) == parsed(text)


@pytest.mark.parametrize(
    "text",
    [
        "a:\n-\n- x\n- \n- - y\n",
        "a:\n  -\n  -\n    b: c\n",
        "  a: 1\nb: 2\n",
        "a: 'x'#c\nb: {}#c\nc: x#c\n",
        "a: b\n---\nx:\n  c: 1\n  c: 2\nd: [\n---\ne: f\n",
        "a: 'open\n---\nb: c'\n",
        "a: 1\n# c\rb: 2\n",
        "a: 1\n# c\u2028b: 2\n",
        "a: 1\n...\nb: *x\n---\nc: 1\n",
        "%TAG ! tag:yaml.org,2002:\n---\na: !str 1\n--- \nb: !str 1\n",
        "a: 1\n%YAML 1.1\n---\nb: 1\n",
        "---\n---\n# nothing\n--- # c\na: b\n---x: y\n---",
        "a: &x 1\n---\nb: *x\n---\nc: 1\n",
        "a: x\u00e9\nb: '\u00e9' # \u00e9\n",
    ],
)
def test_where_one_document_ends_and_the_next_begins_is_as_the_parser_has_it(text: str) -> None:
    assert read(text) == parsed(text)


def test_what_kubectl_and_most_people_write_needs_no_parser() -> None:
    (value,) = block_documents(READ, 1) or []
    assert [repr(shown(value))] == parsed(READ)[0]
    assert block_documents("---\n" + READ, 7) is not None
    assert block_documents("---\n\n# nothing\n", 1) == []


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\na: 2\n",
        "on: 1\n",
        "a: {b: c}\n",
        "a: &b c\n",
        "a: |\n  b\n",
        "a: b\n  c\n",
        "a:\n  b\n",
        "a: 1\n  b: 2\n",
        "a:\n- b\n  - c\n",
        "- a\n",
        "a",
        "a: 'it''s'\n",
        'a: "\\n"\n',
        "a:\tb\n",
        "".join(f"{' ' * n}a:\n" for n in range(60)),
    ],
)
def test_other_forms_are_left_to_the_parser(text: str) -> None:
    assert block_documents(text, 1) is None
