"""`# vallum: ignore RULE reason`: which findings a comment silences, and comments that are findings themselves.

A comment holds for the lines that its reader found for it (its own line, the next one, or a whole document).
What cannot be read cannot be ignored: the reader's own errors never come by here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from vallum.analysis.lint.finding import Finding, Rule
from vallum.analysis.lint.spelling import Spelling
from vallum.analysis.lint.table import BAD_IGNORE, RULES, UNUSED_IGNORE

_HOW = "write `# vallum: ignore RULE reason`"


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A place in a file; line and column from 1. Line 0: not in a file, and `file` says it all."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Comment:
    """An ignore comment: where it stands, the lines it holds for, its rule and its reason as written."""

    place: Place
    first: int
    last: int
    rule: str
    reason: str

    def holds(self, line: int) -> bool:
        """Reports whether the comment is about this line."""
        return self.first <= line <= self.last


@dataclass(frozen=True, slots=True)
class Placed:
    """A finding and its place."""

    finding: Finding
    place: Place


def sift(placed: Sequence[Placed], comments: Sequence[Comment]) -> Iterator[Placed]:
    """The findings that no comment silences, and what is wrong with the comments."""
    right = [comment for comment in comments if _problem(comment, RULES) is None]
    by_file: dict[tuple[str, str], list[Comment]] = {}
    for comment in right:
        by_file.setdefault((comment.place.file, comment.rule), []).append(comment)
    used: set[Comment] = set()
    for found in placed:
        near = by_file.get((found.place.file, found.finding.rule), [])
        silencing = [comment for comment in near if comment.holds(found.place.line)]
        used.update(silencing)
        if not silencing:
            yield found
    for comment in comments:
        problem = _problem(comment, RULES)
        if problem:
            yield _about(comment, BAD_IGNORE, *problem)
        elif comment not in used:
            text = f"{comment.rule} finds nothing here"
            yield _about(comment, UNUSED_IGNORE, text, "remove the comment, or move it to the line that it means")


def _problem(comment: Comment, rules: Mapping[str, Rule]) -> tuple[str, str] | None:
    if not comment.rule:
        return "this comment names no rule", _HOW
    if comment.rule not in rules:
        near = Spelling(rules).nearest(comment.rule)
        return f"there is no rule `{comment.rule}`", f"did you mean `{near}`?" if near else "docs/lint.md has them all"
    if not comment.reason:
        return f"{comment.rule} is ignored without a reason", _HOW
    return None


def _about(comment: Comment, rule: str, text: str, cure: str) -> Placed:
    return Placed(Finding(rule, ("File", "", comment.place.file), (), text, cure), comment.place)
