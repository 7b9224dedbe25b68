"""What namespaces and policies of 2016 stand for in v1 (whole worlds of them: tests/sources/test_modern.py)."""

from vallum.model.objects import Policy, PolicyId
from vallum.model.selector import EVERYTHING
from vallum.policy.legacy import Modern, modernise

A, B = PolicyId("a", "one"), PolicyId("b", "one")


def test_an_isolated_namespace_denies_all_ingress_and_leaves_egress_alone():
    denial = Policy(PolicyId("a", "default-deny"), EVERYTHING, ingress=(), egress=None)
    assert modernise({"a"}, (), ()) == Modern((denial,), frozenset())


def test_only_policies_of_isolated_namespaces_add_anything():
    assert modernise({"a"}, [A, B], [A, B]).adding == {A}
    assert modernise((), [A, B], [A, B]) == Modern((), frozenset())


def test_a_name_that_is_taken_gets_a_number():
    taken = [PolicyId("a", "default-deny"), PolicyId("a", "default-deny-2"), PolicyId("b", "default-deny-3")]
    assert [str(denial.id) for denial in modernise({"b", "a"}, (), taken).denials] == [
        "a/default-deny-3",
        "b/default-deny",
    ]
