"""The documents of a YAML or JSON text: each by the quick way if its form allows (`yaml_block`), else by the parser.

In YAML a `---` at the begin of a line always begins a document, so each can be read alone. Only what is wrong is
said otherwise where the text goes on: from a document that is no YAML, the parser reads all the rest.
"""

import re
from collections.abc import Iterator

import yaml

from vallum.sources.marks import Findings, Value
from vallum.sources.yaml_block import block_documents
from vallum.sources.yaml_events import Builder, StopReadingError
from vallum.sources.yaml_words import explain

_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")
_SURROGATES = re.compile(r"(\\\\)|\\u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})", re.IGNORECASE)
_MARKER = re.compile(r"^---(?=[ \t\n]|\Z)", re.MULTILINE)
_BOUND = ("\r", "\x85", "\u2028", "\u2029", "\ufeff")
"""Other ends of lines than a newline: a document may begin behind one."""


def documents(text: str, findings: Findings) -> Iterator[Value]:
    """The documents of a text that are not empty. Ends at the first place that is no YAML."""
    forbidden = _FORBIDDEN.search(text)
    if forbidden:
        line = text.count("\n", 0, forbidden.start()) + 1
        column = forbidden.start() - text.rfind("\n", 0, forbidden.start())
        findings.wrong(
            (line, column), f"control character U+{ord(forbidden[0]):04X}: manifests are plain text; remove it"
        )
        return
    if text.lstrip().startswith(("{", "[")):
        text = _SURROGATES.sub(_join_surrogates, text)
    try:
        yield from (
            Builder(findings).documents(text) if any(sign in text for sign in _BOUND) else _one_by_one(text, findings)
        )
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        findings.wrong(*explain(error, text.splitlines(), at))
    except StopReadingError:
        return


def _one_by_one(text: str, findings: Findings) -> Iterator[Value]:
    begins = [0, *(marker.start() for marker in _MARKER.finditer(text) if marker.start())]
    line = 1
    for begin, end in zip(begins, [*begins[1:], len(text)], strict=True):
        part, noted = text[begin:end], len(findings.errors)
        values = block_documents(part, line)
        try:
            yield from [*Builder(findings, line).documents(part)] if values is None else values
        except yaml.MarkedYAMLError:
            del findings.errors[noted:]
            yield from Builder(findings).documents("\n" * (line - 1) + text[begin:])
            return
        line += part.count("\n")


def _join_surrogates(match: "re.Match[str]") -> str:
    """JSON writes characters beyond U+FFFF as two escapes; YAML knows them as one."""
    if match[1]:
        return match[1]
    code = 0x10000 + ((int(match[2], 16) - 0xD800) << 10) + int(match[3], 16) - 0xDC00
    return f"\\U{code:08X}"
