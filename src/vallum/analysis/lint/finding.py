"""What a rule finds: which object, where in it, what is wrong, and what would be right.

Ignores files and lines: a place is an object's key and a path of field names and indexes.
"""

from dataclasses import dataclass
from enum import IntEnum

from vallum.model.objects import Policy
from vallum.model.snapshot import Key, key_of

Path = tuple[str | int, ...]
"""Steps from an object's root. A label of a selector is a step by its key, wherever the selector holds it."""


class Level(IntEnum):
    """How bad. ERROR: cannot be meant; WARNING: most likely not meant; NOTE: good to know."""

    NOTE = 1
    WARNING = 2
    ERROR = 3

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule: how bad its findings are and what they say, in one line."""

    level: Level
    summary: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding of the rule with this id."""

    rule: str
    key: Key
    path: Path
    text: str
    cure: str


def about(policy: Policy, rule: str, path: Path, text: str, cure: str) -> Finding:
    """A finding about a policy."""
    return Finding(rule, key_of(policy), path, text, cure)


def show_path(path: Path) -> str:
    """As in `spec.ingress[0].ports[1]`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")


def show_place(key: Key, path: Path) -> str:
    """A place where there are no files, as in `NetworkPolicy shop/web spec.ingress[0]`."""
    kind, namespace, name = key
    kind = "NetworkPolicy" if kind == "Policy" else kind
    return f"{kind} {namespace}/{name} {show_path(path)}" if namespace else f"{kind} {name} {show_path(path)}"
