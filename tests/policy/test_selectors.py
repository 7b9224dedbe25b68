"""Label selectors match as the API server's do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vallum.model.selector import EVERYTHING, Operator, Requirement, Selector
from vallum.policy.selectors import matches

LABELS = {"app": "web", "tier": "front"}


@pytest.mark.parametrize(
    ("requirement", "expected"),
    [
        (Requirement("app", Operator.IN, ("api", "web")), True),
        (Requirement("app", Operator.IN, ("api",)), False),
        (Requirement("gone", Operator.IN, ("web",)), False),
        (Requirement("app", Operator.NOT_IN, ("api",)), True),
        (Requirement("app", Operator.NOT_IN, ("api", "web")), False),
        (Requirement("gone", Operator.NOT_IN, ("web",)), True),
        (Requirement("app", Operator.EXISTS), True),
        (Requirement("gone", Operator.EXISTS), False),
        (Requirement("app", Operator.DOES_NOT_EXIST), False),
        (Requirement("gone", Operator.DOES_NOT_EXIST), True),
    ],
    ids=str,
)
def test_each_operator_holds_where_the_api_server_says_so(requirement: Requirement, expected: bool):
    assert matches(Selector((requirement,)), LABELS) is expected


def test_an_empty_selector_matches_even_a_pod_without_labels():
    assert matches(EVERYTHING, {})


def test_an_empty_value_is_a_value():
    assert matches(Selector((Requirement("app", Operator.IN, ("",)),)), {"app": ""})
    assert not matches(Selector((Requirement("app", Operator.IN, ("",)),)), {})
    assert matches(Selector((Requirement("app", Operator.EXISTS),)), {"app": ""})
    assert not matches(Selector((Requirement("app", Operator.DOES_NOT_EXIST),)), {"app": ""})


_KEYS, _VALUES = st.sampled_from(["a", "b"]), st.sampled_from(["x", "y"])
_LABELS = st.dictionaries(_KEYS, _VALUES)
_REQUIREMENT = st.builds(
    Requirement, _KEYS, st.sampled_from(list(Operator)), st.lists(_VALUES, min_size=1, unique=True).map(tuple)
)


@given(st.lists(_REQUIREMENT, max_size=3), _LABELS)
def test_requirements_are_anded(requirements: list[Requirement], labels: dict[str, str]):
    assert matches(Selector(tuple(requirements)), labels) == all(
        matches(Selector((one,)), labels) for one in requirements
    )


_OPPOSITES = {
    Operator.IN: Operator.NOT_IN,
    Operator.NOT_IN: Operator.IN,
    Operator.EXISTS: Operator.DOES_NOT_EXIST,
    Operator.DOES_NOT_EXIST: Operator.EXISTS,
}


@given(_REQUIREMENT, _LABELS)
def test_an_operator_and_its_opposite_divide_all_label_sets(requirement: Requirement, labels: dict[str, str]):
    opposite = Requirement(requirement.key, _OPPOSITES[requirement.operator], requirement.values)
    assert matches(Selector((requirement,)), labels) != matches(Selector((opposite,)), labels)
