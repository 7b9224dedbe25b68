"""Live change is semantics too: whatever a cluster went through, the end is what its present objects say.

A history is a cluster's log of edits as a source may deliver it: each kind's stream in order and the streams in any
order among them, cut into batches anywhere, events delivered twice, streams broken off and resumed by a new list. At
its end World, Ruleset, Tables, memory plane and nft text equal those of a fresh start, and the text of the API agrees.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apitext import CannotBeAskedError, Evaluator
from build import walk
from vallum.agent.world import World
from vallum.analysis.probe import Ends, parse
from vallum.dataplane.memory.plane import MemoryPlane
from vallum.dataplane.nftables.program import text
from vallum.dataplane.nftables.render import render
from vallum.model.attachment import LocalNode
from vallum.model.objects import TCP, NamedPort, Namespace, Node, Object, Pod, PodId, Policy, PolicyId
from vallum.model.selector import labels
from vallum.model.snapshot import Batch, Event, Gone, Key, Put, Snapshot, key_of, snapshot_of
from vallum.policy.classify import Tables, classify, decide
from vallum.policy.compile import Engine, compile_node
from vallum.policy.ruleset import Ruleset
from vallum.sources.encode import manifest
from worlds import NODES, SPACES, probes, world

EDITS = 12


@dataclass
class Cluster:
    """The objects as they are, and every event since they began to change."""

    objects: dict[Key, Object]
    log: list[Event] = field(default_factory=list)
    clock: int = 0

    def put(self, thing: Object) -> None:
        """Create or change an object."""
        self.objects[key_of(thing)] = thing
        self.log.append(Put(thing))

    def remove(self, key: Key) -> None:
        """Delete an object."""
        del self.objects[key]
        self.log.append(Gone(key))

    def any(self, random: Random, kind: type[Object]) -> "Object | None":
        """Some object of a kind."""
        found = [thing for _, thing in sorted(self.objects.items()) if isinstance(thing, kind)]
        return random.choice(found) if found else None

    def later(self) -> str:
        """A creation time after all others."""
        self.clock += 1
        return f"2026-02-01T00:00:{self.clock:02}Z"


# what happens to clusters


def relabel_a_pod(random: Random, cluster: Cluster, _: Snapshot) -> None:
    pod = cluster.any(random, Pod)
    if isinstance(pod, Pod):
        found = {"app": random.choice(("web", "api", "db"))} | ({"tier": "x"} if random.random() < 0.5 else {})
        cluster.put(replace(pod, labels=labels(found)))


def relabel_a_namespace(random: Random, cluster: Cluster, _: Snapshot) -> None:
    space = cluster.any(random, Namespace)
    if isinstance(space, Namespace):
        found = dict(space.labels) | {"team": random.choice("ab")} | ({"env": "prod"} if random.random() < 0.5 else {})
        cluster.put(replace(space, labels=labels(found)))


def recreate_a_pod(random: Random, cluster: Cluster, spare: Snapshot) -> None:
    """Deleted, and another is created with the same address, perhaps under the same name."""
    old = cluster.any(random, Pod)
    if isinstance(old, Pod):
        cluster.remove(key_of(old))
        cluster.put(_successor(random, cluster, spare, old))


def overtake_a_pod(random: Random, cluster: Cluster, spare: Snapshot) -> None:
    """Another pod has its address before it is gone, as a slow kubelet shows it."""
    old = cluster.any(random, Pod)
    if isinstance(old, Pod):
        fresh = _successor(random, cluster, spare, old)
        cluster.put(replace(fresh, id=PodId(fresh.id.namespace, f"n{cluster.clock}")))
        if random.random() < 0.5 and key_of(old) in cluster.objects:
            cluster.remove(key_of(old))


def _successor(random: Random, cluster: Cluster, spare: Snapshot, old: Pod) -> Pod:
    model = spare.pods[random.choice(sorted(spare.pods))]
    name = old.id.name if random.random() < 0.5 else f"n{cluster.clock}"
    created = cluster.later() if random.random() < 0.8 else "2025-01-01T00:00:00Z"
    if random.random() < 0.4:  # of the same template, as in a rolling update
        model = replace(model, labels=old.labels, ports=old.ports)
    kept = PodId(old.id.namespace, name)
    same = replace(model, id=kept, addresses=old.addresses, node=old.node, created=created)
    return replace(same, host_network=old.host_network)  # a node's address is never that of a pod of its own


def renumber_a_port(random: Random, cluster: Cluster, _: Snapshot) -> None:
    pod = cluster.any(random, Pod)
    if isinstance(pod, Pod):
        cluster.put(replace(pod, ports=(NamedPort("http", TCP, random.choice((80, 81, 443))),)))


def finish_a_pod(random: Random, cluster: Cluster, _: Snapshot) -> None:
    pod = cluster.any(random, Pod)
    if isinstance(pod, Pod):
        cluster.put(replace(pod, finished=not pod.finished))


def delete_a_pod(random: Random, cluster: Cluster, _: Snapshot) -> None:
    pod = cluster.any(random, Pod)
    if isinstance(pod, Pod):
        cluster.remove(key_of(pod))


def edit_a_policy(random: Random, cluster: Cluster, spare: Snapshot) -> None:
    old = cluster.any(random, Policy)
    if isinstance(old, Policy):
        cluster.put(replace(spare.policies[random.choice(sorted(spare.policies))], id=old.id))


def add_or_delete_a_policy(random: Random, cluster: Cluster, spare: Snapshot) -> None:
    old = cluster.any(random, Policy)
    if isinstance(old, Policy) and random.random() < 0.5:
        cluster.remove(key_of(old))
    else:
        model = spare.policies[random.choice(sorted(spare.policies))]
        cluster.put(replace(model, id=PolicyId(random.choice(SPACES), f"more{random.randint(1, 3)}")))


def delete_a_namespace(random: Random, cluster: Cluster, _: Snapshot) -> None:
    """With everything in it; it may come back empty, with other labels."""
    space = cluster.any(random, Namespace)
    if isinstance(space, Namespace):
        inside = [key for key in sorted(cluster.objects) if key[1] == space.name]
        for key in [*random.sample(inside, len(inside)), key_of(space)]:
            cluster.remove(key)
        if random.random() < 0.5:
            cluster.put(Namespace(space.name, labels({"team": "a", "kubernetes.io/metadata.name": space.name})))


def readdress_a_node(random: Random, cluster: Cluster, _: Snapshot) -> None:
    node = cluster.any(random, Node)
    if isinstance(node, Node):
        more = (ip_address(f"172.20.0.{random.randint(20, 22)}"),)
        cluster.put(replace(node, addresses=(*node.addresses[:2], *(more if random.random() < 0.7 else ()))))


Edit = Callable[[Random, Cluster, Snapshot], None]
ALL: tuple[Edit, ...] = (
    *(relabel_a_pod, relabel_a_namespace, recreate_a_pod, overtake_a_pod, finish_a_pod, delete_a_pod),
    *(renumber_a_port, edit_a_policy, add_or_delete_a_policy, delete_a_namespace, readdress_a_node),
)


def lived(random: Random) -> tuple[Cluster, list[Event]]:
    """A cluster after a dozen edits, and how it was created. Its worlds are cheap to draw and not to be shrunk."""
    spare, start = (world(Random(random.getrandbits(32))) for _ in range(2))
    begin = walk(start)
    cluster = Cluster({key_of(thing): thing for thing in begin})
    for _ in range(EDITS):
        random.choice(ALL)(random, cluster, spare)
    return cluster, [Put(thing) for thing in begin]


# what a source makes of it


def delivered(random: Random, begin: list[Event], log: list[Event]) -> list[list[Event]]:
    """The events as they may arrive, in batches."""
    cut = random.randint(0, len(log))
    arriving = [*random.sample(begin, len(begin)), *interleaved(random, log[:cut])]
    if random.random() < 0.5:  # the connection broke: nobody knows what was lost, so everything is listed anew
        lost = random.randint(0, len(arriving))
        arriving = [*arriving[: len(arriving) - lost], *relisted(random, arriving, [*begin, *log[:cut]])]
    arriving += interleaved(random, log[cut:])
    batches: list[list[Event]] = []
    while arriving:
        size = random.choice((1, 1, 2, 5, 20))
        batches.append(arriving[:size])
        arriving = arriving[size:]
    return batches


def interleaved(random: Random, log: list[Event]) -> list[Event]:
    """Each kind's stream in its order; a stream that is resumed says its last events once more."""
    streams: dict[str, list[Event]] = {}
    for event in log:
        streams.setdefault(_key(event)[0], []).append(event)
    found: list[Event] = []
    said: dict[str, list[Event]] = {kind: [] for kind in streams}
    while any(streams.values()):
        kind = random.choice(sorted(kind for kind, events in streams.items() if events))
        said[kind].append(streams[kind].pop(0))
        found.append(said[kind][-1])
        if random.random() < 0.15:
            found += said[kind][-random.randint(1, 4) :]
    return found


def relisted(random: Random, seen: Iterable[Event], log: Iterable[Event]) -> list[Event]:
    """What a new list says: everything that is there, and the end of all that was seen and is not."""
    present: dict[Key, Event] = {}
    for event in log:
        present[_key(event)] = event
    listed = [event for event in present.values() if isinstance(event, Put)]
    there = {_key(event) for event in listed}
    gone = [Gone(key) for key in sorted({_key(event) for event in seen} - there)]
    return [*random.sample(listed, len(listed)), *gone]


def _key(event: Event) -> Key:
    return event.key if isinstance(event, Gone) else key_of(event.thing)


def snapshots(batches: list[list[Event]]) -> Iterator[Snapshot]:
    """What the agent's World makes of the batches, one after the other."""
    state = World()
    for number, batch in enumerate(batches, start=1):
        yield state.apply(Batch(tuple(batch), "end" if number == len(batches) else str(number)))


# what the agent makes of that


def compile_path(history: Iterable[Snapshot], node: str | None) -> Iterator[tuple[Snapshot, Ruleset, Tables]]:
    """The Ruleset and Tables at each step of a history, by one engine that goes through all of it."""
    engine = Engine(node)
    for snapshot in history:
        yield (snapshot, *engine.compile(snapshot))


def plane_of(ruleset: Ruleset, tables: Tables) -> MemoryPlane:
    plane = MemoryPlane()
    plane.apply(plane.render(ruleset, tables, LocalNode(ruleset.node or "")))
    return plane


many = settings(deadline=None, suppress_health_check=list(HealthCheck))


@settings(many, max_examples=40)
@given(st.randoms(use_true_random=False), st.sampled_from([None, *NODES]))
def test_a_history_is_at_each_step_and_ends_like_a_fresh_start(random: Random, node: str | None):
    cluster, begin = lived(random)
    history = snapshots(delivered(random, begin, cluster.log))
    for snapshot, ruleset, tables in compile_path(history, node):
        fresh = compile_node(snapshot, node)
        assert ruleset == fresh
        assert tables == classify(fresh)
    assert snapshot == snapshot_of(tuple(cluster.objects.values()), "end")
    local = LocalNode(node or "")
    assert text(render(ruleset, tables, local)) == text(render(fresh, classify(fresh), local))


@settings(many, max_examples=40)
@given(st.randoms(use_true_random=False))
def test_at_the_end_of_a_history_packets_do_what_the_text_of_the_api_says_of_its_objects(random: Random):
    cluster, begin = lived(random)
    *_, (_, ruleset, tables) = compile_path(snapshots(delivered(random, begin, cluster.log)), None)
    plane = plane_of(ruleset, tables)
    present = snapshot_of(tuple(cluster.objects.values()))
    if all(pod.finished for pod in present.pods.values()):
        return
    ends, evaluator = Ends(present), Evaluator([manifest(thing) for thing in cluster.objects.values()])
    for number, probe in enumerate(probes(random, present, 40)):
        line = probe.line(number)
        try:
            allow = evaluator.answer(line).allow
        except CannotBeAskedError:
            continue
        packet = ends.packet(parse(line))
        assert (plane.passes(packet), decide(tables, packet)) == (allow, allow), line


def test_every_edit_does_happen_and_every_kind_of_event_is_delivered():
    """Else the two properties above would hold of nothing."""
    kinds = set()
    lengths = []
    for seed in range(40):
        random = Random(seed)
        cluster, begin = lived(random)
        batches = delivered(random, begin, cluster.log)
        kinds |= {(type(event).__name__, _key(event)[0]) for event in cluster.log}
        lengths.append(sum(map(len, batches)) - len(begin) - len(cluster.log))
    assert kinds == {
        *(("Put", kind) for kind in ("Pod", "Policy", "Namespace", "Node")),
        *(("Gone", kind) for kind in ("Pod", "Policy", "Namespace")),
    }
    assert max(lengths) > 20, "replayed and listed anew"
    assert min(lengths) <= 0, "and some histories are plain, or lose events"
