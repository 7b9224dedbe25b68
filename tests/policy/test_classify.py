"""Tables must decide what the judge decides, on every packet of every world, whatever led to that world."""

from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from build import NODE1, block, pod, policy, port, rule, walk
from packets import packet_of
from vallum.agent.world import World
from vallum.dataplane.nftables.program import text
from vallum.dataplane.nftables.render import render
from vallum.model.attachment import LocalNode
from vallum.model.objects import Object
from vallum.model.packet import Direction
from vallum.model.snapshot import Batch, Event, Gone, Put, Snapshot, key_of, snapshot_of
from vallum.policy.classify import classify, decide
from vallum.policy.compile import Engine, compile_node
from vallum.policy.judge import Judge
from worlds import NODES, probes, world

many_worlds = settings(deadline=None, suppress_health_check=list(HealthCheck))


@settings(many_worlds, max_examples=50)
@given(st.randoms(use_true_random=False), st.sampled_from([None, *NODES]))
def test_tables_and_judge_agree_on_every_probe(random: Random, node: str | None):
    snapshot = world(random)
    ruleset = compile_node(snapshot, node)
    tables, judge = classify(ruleset), Judge(ruleset)
    for probe in probes(random, snapshot, 40):
        packet = packet_of(snapshot, probe, random.choice(list(Direction)))
        assert decide(tables, packet) == judge(packet).allow, (probe, judge(packet))


def paths(random: Random, things: tuple[Object, ...], others: tuple[Object, ...]) -> list[list[list[Event]]]:
    """Ways to the same world: lists of batches."""
    puts: list[Event] = [Put(thing) for thing in things]
    shuffled = random.sample(puts, len(puts))
    wanted = {key_of(thing) for thing in things}
    detour: list[Event] = [Put(thing) for thing in others]
    back: list[Event] = [Gone(key_of(thing)) for thing in others if key_of(thing) not in wanted]
    return [
        [puts],  # squashed into one batch
        [[event] for event in puts],
        [[event] for event in reversed(puts)],
        [[event] for event in shuffled],
        [[event, event] for event in shuffled] + [puts],  # everything twice, then again
        [detour, *([event] for event in shuffled), back],  # over another world
        [puts, [Gone(key_of(thing)) for thing in things], shuffled],  # over an empty one
    ]


def walked(batches: list[list[Event]]) -> Snapshot:
    """The snapshot at the end of a path."""
    state = World()
    for number, batch in enumerate(batches):
        last = number == len(batches) - 1
        state.apply(Batch(tuple(batch), "end" if last else str(number)))
    return state.snapshot


@settings(many_worlds, max_examples=20)
@given(st.randoms(use_true_random=False), st.sampled_from([None, *NODES]))
def test_the_order_and_path_of_events_never_matter(random: Random, node: str | None):
    things, others = walk(world(random)), walk(world(random))
    straight = snapshot_of(things, "end")
    ruleset = compile_node(straight, node)
    tables = classify(ruleset)
    program = text(render(ruleset, tables, LocalNode(node or "")))
    for batches in paths(random, things, others):
        snapshot = walked(batches)
        assert snapshot == straight
        assert compile_node(snapshot, node) == ruleset
        assert classify(compile_node(snapshot, node)) == tables
        assert text(render(compile_node(snapshot, node), classify(ruleset), LocalNode(node or ""))) == program


@settings(many_worlds, max_examples=25)
@given(st.randoms(use_true_random=False), st.sampled_from([None, *NODES]))
def test_an_engine_that_came_another_way_ends_like_a_new_one(random: Random, node: str | None):
    things, others = walk(world(random)), walk(world(random))
    for batches in paths(random, things, others):
        state, engine = World(), Engine(node)
        for number, batch in enumerate(batches):
            snapshot = state.apply(Batch(tuple(batch), str(number)))
            ruleset, tables = engine.compile(snapshot)
            if number == len(batches) - 1 or random.random() < 0.1:
                fresh = compile_node(snapshot, node)
                assert ruleset == fresh
                assert tables == classify(fresh)


# classes are few


def test_peers_that_may_do_the_same_are_one_class():
    clients = [pod(f"a/c{number}", f"10.44.1.{number}", app="client") for number in range(1, 200)]
    guard = policy("a/guard", ingress=[rule(block("10.44.1.0/25"), ports=[port(80)])])
    half = classify(compile_node(snapshot_of([NODE1, *clients, guard]), None)).ingress
    assert len({number for *_, number in half.spans}) == 1
    assert half.exact == {}, "the interval says it already"
    assert len(half.cells) == 1


def test_blocks_that_allow_nothing_new_make_no_class():
    guard = policy("a/guard", ingress=[rule(ports=[port(80)]), rule(block("10.0.0.0/8"), ports=[port(80)])])
    half = classify(compile_node(snapshot_of([NODE1, pod("a/x", "10.44.1.1"), guard]), None)).ingress
    assert half.spans == ()


def test_a_pod_that_no_policy_mentions_has_no_entry():
    lonely, guard = pod("b/x", "10.44.1.2"), policy("a/guard", ingress=[rule(block("192.0.2.0/24"))])
    half = classify(compile_node(snapshot_of([NODE1, pod("a/x", "10.44.1.1"), lonely, guard]), None)).ingress
    assert len(half.profiles) == 1
    assert half.exact == {}
