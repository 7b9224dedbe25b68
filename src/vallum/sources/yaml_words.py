"""What libyaml's complaints mean to the person who wrote the file: where to look, and what would be right.

libyaml names states of its scanner; here each becomes the mistake that leads there. Ignores all that is valid
YAML but no manifest.
"""

import yaml

_CONFLICT = ("<<<<<<< ", "=======", ">>>>>>> ")
_PLAIN = {
    "mapping values are not allowed in this context": (
        "a `: ` where no key can stand: quote the text if it holds `: `, or align this line with the keys above"
    ),
    "block sequence entries are not allowed in this context": (
        "a list cannot begin on the line of its key; put the `- ` on the next line"
    ),
    "did not find expected key": "this line fits no level above it; align it with the keys it belongs to",
    "did not find expected '-' indicator": (
        "a list ends here without its parent ending; begin this line with `- `, or align it with its parent"
    ),
    "could not find expected ':'": "a key without `: ` behind it; write `key: value`",
    "did not find expected node content": "nothing stands before this sign; write the key or value that is meant",
    "found unknown escape character": "no such escape in double quotes; use single quotes, or `\\\\` for a backslash",
    "found incompatible YAML document": "this %YAML version is not read; remove the line",
}


def explain(error: yaml.MarkedYAMLError, lines: list[str], found: tuple[int, int]) -> tuple[tuple[int, int], str]:
    """Line and column to look at (from 1), and the problem in one line."""
    line = lines[found[0] - 1] if found[0] <= len(lines) else ""
    opened = (error.context_mark.line + 1, error.context_mark.column + 1) if error.context_mark else found
    conflict = _conflict(lines, found[0])
    if conflict:
        return (conflict, 1), "a merge conflict was left here; resolve it and remove the marker lines"
    if "{{" in line or "{%" in line:
        return found, "a template; render it first (helm template, kustomize build) and read the result"
    return _word(error, line, found, opened)


def _conflict(lines: list[str], until: int) -> int | None:
    for number, line in enumerate(lines[:until], start=1):
        if line.startswith(_CONFLICT[0]) or (number >= until - 1 and line.startswith(_CONFLICT)):
            return number
    return None


def _word(
    error: yaml.MarkedYAMLError, line: str, found: tuple[int, int], opened: tuple[int, int]
) -> tuple[tuple[int, int], str]:
    problem = error.problem or "not readable"
    if problem == "found unexpected end of stream":
        return opened, "the quotes that open here are never closed"
    if problem == "found character that cannot start any token":
        return found, _character(line, found[1])
    if "expected ',' or" in problem:
        sign = problem[-2]
        if found[0] == opened[0]:
            return found, f"a `,` is missing here, or a `{sign}` before"
        return opened, f"the bracket that opens here is not closed before line {found[0]}; a `{sign}` is missing"
    if problem == "could not find expected ':'":
        return opened, _PLAIN[problem]
    return found, _PLAIN.get(problem, f"this is no YAML: {problem}")


def _character(line: str, column: int) -> str:
    character = line[column - 1 : column]
    if character == "\t" or "\t" in line[: len(line) - len(line.lstrip())]:
        return "a tab; YAML indents with spaces only"
    return f"text cannot begin with `{character}`; put it in quotes"
