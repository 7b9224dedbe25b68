"""A new version has the change, the old one keeps what it had, and two versions tell where they differ."""

from hypothesis import given
from hypothesis import strategies as st

from build import pod
from vallum.model.objects import Pod, PodId
from vallum.model.spaces import Spaces

Changes = dict[PodId, str | None]
_NAMES = st.sampled_from([f"{space}/{name}" for space in "ab" for name in "xyz"])
_PODS = st.builds(lambda name, app: pod(name, app=app), _NAMES, st.sampled_from("pq"))
_CHANGES = st.dictionaries(_NAMES.map(lambda text: PodId(*text.split("/"))), st.none() | st.sampled_from("pq"))


def changed(spaces: Spaces[PodId, Pod], changes: Changes) -> Spaces[PodId, Pod]:
    return spaces.changed({id_: None if app is None else pod(str(id_), app=app) for id_, app in changes.items()})


@given(st.lists(_PODS), _CHANGES)
def test_a_version_is_what_a_dict_would_be_and_leaves_the_old_one_alone(pods: list[Pod], changes: Changes):
    old = Spaces[PodId, Pod].of(pods)
    before = dict(old)
    expected = before | {id_: pod(str(id_), app=app) for id_, app in changes.items() if app is not None}
    for id_ in (id_ for id_, app in changes.items() if app is None):
        expected.pop(id_, None)
    new = changed(old, changes)
    assert dict(new) == expected
    assert len(new) == len(expected)
    assert sorted(new.values(), key=lambda one: one.id) == [expected[id_] for id_ in sorted(expected)]
    assert dict(old) == before


@given(st.lists(_PODS), _CHANGES)
def test_two_versions_differ_in_just_what_was_changed(pods: list[Pod], changes: Changes):
    old = Spaces[PodId, Pod].of(pods)
    new = changed(old, changes)
    expected = {id_: (old.get(id_), new.get(id_)) for id_ in {*old, *new} if old.get(id_) != new.get(id_)}
    assert {(one or other).id: (one, other) for one, other in new.since(old)} == expected
    assert {(one or other).id: (other, one) for one, other in old.since(new)} == expected


def test_a_namespace_that_did_not_change_is_shared():
    old = Spaces[PodId, Pod].of([pod("a/x"), pod("b/x")])
    new = changed(old, {PodId("a", "x"): "p"})
    assert new.inside("b") is old.inside("b")
    assert new.inside("c") == {}


def test_equal_objects_read_anew_are_no_difference():
    assert not list(Spaces.of([pod("a/x", app="p")]).since(Spaces.of([pod("a/x", app="p")])))


def test_nothing_changed_is_the_same_version():
    old = Spaces[PodId, Pod].of([pod("a/x")])
    assert old.changed({}) is old
