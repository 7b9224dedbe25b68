"""A label selector (API: metav1.LabelSelector) as data, and how it matches: all four operators, everything ANDed.

Policies select pods with it, and pools of addresses select nodes and namespaces.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

Labels = tuple[tuple[str, str], ...]
"""Sorted (key, value) pairs: hashable, so that pods with equal labels are one kind."""


class Operator(StrEnum):
    """The four operators of a LabelSelectorRequirement, spelled as in the API."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


_IN = Operator.IN
"""By its own name, because Python 3.11 looks members up slowly."""


class Requirement(NamedTuple):
    """One condition on one label. A matchLabels entry is `IN` with one value."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()


class Selector(NamedTuple):
    """All requirements must hold; none at all selects everything. Requirements are sorted and unique.

    A tuple, because compilers look selectors up by value, tens of thousands of them.
    """

    requirements: tuple[Requirement, ...] = ()

    def __str__(self) -> str:
        if not self.requirements:
            return "everything"
        return ",".join(map(_text, self.requirements))


def _text(requirement: Requirement) -> str:
    key, operator, wanted = requirement
    if operator is _IN and len(wanted) == 1:  # nearly always
        return f"{key}={wanted[0]}"
    values = ",".join(wanted)
    match operator:
        case Operator.IN:
            return f"{key} in ({values})"
        case Operator.NOT_IN:
            return f"{key} notin ({values})"
        case Operator.EXISTS:
            return key
        case Operator.DOES_NOT_EXIST:
            return f"!{key}"


def labels(mapping: dict[str, str]) -> Labels:
    """A label mapping in its sorted, hashable form."""
    return tuple(sorted(mapping.items()))


EVERYTHING = Selector()


def matches(selector: Selector, labels: Mapping[str, str]) -> bool:
    """Reports whether all requirements hold. No requirement at all matches everything."""
    return all(holds(requirement, labels) for requirement in selector.requirements)


def holds(requirement: Requirement, labels: Mapping[str, str]) -> bool:
    """Reports whether one requirement holds."""
    value = labels.get(requirement.key)
    match requirement.operator:
        case Operator.IN:
            return value is not None and value in requirement.values
        case Operator.NOT_IN:  # an absent key satisfies it, as in the API server's labels package
            return value is None or value not in requirement.values
        case Operator.EXISTS:
            return value is not None
        case Operator.DOES_NOT_EXIST:
            return value is None
