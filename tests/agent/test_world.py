"""The latest objects, whatever the way to them (paths: tests/policy/test_classify.py)."""

from ipaddress import ip_network

from build import NODE1, pod, policy, space
from vallum.agent.world import World
from vallum.model.objects import PodId, Pool
from vallum.model.snapshot import Batch, Gone, Put, key_of, snapshot_of

POOL = Pool("blue", ip_network("10.44.0.0/16"), backend="vxlan")
THINGS = (NODE1, space("a"), POOL, pod("a/x", "10.44.1.1"), policy("a/x", ingress=[]))


def test_a_batch_takes_effect_as_a_whole_under_its_revision():
    world = World()
    assert world.apply(Batch(tuple(map(Put, THINGS)), "one")) == snapshot_of(THINGS, "one")


def test_a_pod_and_a_policy_of_one_name_are_two_objects():
    world = World()
    world.apply(Batch(tuple(map(Put, THINGS)), "one"))
    snapshot = world.apply(Batch((Gone(key_of(THINGS[3])), Gone(key_of(POOL))), "two"))
    assert not snapshot.pools
    assert (len(snapshot.pods), len(snapshot.policies)) == (0, 1)


def test_what_was_handed_out_never_changes():
    world = World()
    before = world.apply(Batch(tuple(map(Put, THINGS)), "one"))
    world.apply(Batch((Put(pod("a/x", "10.44.1.9")), Gone(key_of(NODE1))), "two"))
    assert before == snapshot_of(THINGS, "one")


def test_the_end_of_something_unknown_changes_nothing_but_the_revision():
    world = World()
    world.apply(Batch(tuple(map(Put, THINGS)), "one"))
    gone = tuple(Gone((kind, "b", "nothing")) for kind in ("Pod", "Policy", "Namespace", "Node", "Pool"))
    assert world.apply(Batch(gone, "two")) == snapshot_of(THINGS, "two")


def test_a_later_event_of_a_batch_wins():
    snapshot = World().apply(Batch((Put(pod("a/x", "10.44.1.1")), Put(pod("a/x", "10.44.1.2"))), "one"))
    assert [str(address) for address in snapshot.pods[PodId("a", "x")].addresses] == ["10.44.1.2"]
