"""A label selector as data (API: metav1.LabelSelector). How it matches is decided in `policy.selectors`."""

from dataclasses import dataclass
from enum import StrEnum

Labels = tuple[tuple[str, str], ...]
"""Sorted (key, value) pairs: hashable, so that pods with equal labels are one kind."""


class Operator(StrEnum):
    """The four operators of a LabelSelectorRequirement, spelled as in the API."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


@dataclass(frozen=True, slots=True, order=True)
class Requirement:
    """One condition on one label. A matchLabels entry is `IN` with one value."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Selector:
    """All requirements must hold; none at all selects everything. Requirements are sorted and unique."""

    requirements: tuple[Requirement, ...] = ()

    def __str__(self) -> str:
        if not self.requirements:
            return "everything"
        return ",".join(map(_text, self.requirements))


def _text(requirement: Requirement) -> str:
    operator = requirement.operator
    if operator is Operator.IN and len(requirement.values) == 1:  # nearly always
        return f"{requirement.key}={requirement.values[0]}"
    values = ",".join(requirement.values)
    match operator:
        case Operator.IN:
            return f"{requirement.key} in ({values})"
        case Operator.NOT_IN:
            return f"{requirement.key} notin ({values})"
        case Operator.EXISTS:
            return requirement.key
        case Operator.DOES_NOT_EXIST:
            return f"!{requirement.key}"


def labels(mapping: dict[str, str]) -> Labels:
    """A label mapping in its sorted, hashable form."""
    return tuple(sorted(mapping.items()))


EVERYTHING = Selector()
