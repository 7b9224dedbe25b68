"""How a label selector matches (API: metav1.LabelSelector): all four operators, everything ANDed."""

from collections.abc import Mapping

from vallum.model.selector import Operator, Requirement, Selector


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
