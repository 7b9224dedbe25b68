"""Random worlds and probes for every test that needs many: small on purpose, so that rules really meet packets.

Worlds are made as manifests, with every form that the API allows, and read through the strict reader like anybody's.
All choices go through one `random.Random`: a seed gives a fixed world, hypothesis' own Random gives shrinkable ones.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from ipaddress import ip_address, ip_network
from random import Random, SystemRandom
from typing import Any, NamedTuple

import msgspec

from vallum.analysis.probe import Ends, parse
from vallum.model.errors import InputError, InputErrors
from vallum.model.objects import ICMP, SCTP, TCP, UDP, PodId
from vallum.model.snapshot import Snapshot, snapshot_of
from vallum.sources.manifest import read_manifest
from vallum.sources.world import assemble

Manifest = dict[str, Any]

NODES = ("node1", "node2")
SPACES = ("red", "green", "blue")
UNDECLARED = "gray"
"""A namespace that pods and policies may use and that no manifest declares."""
PORTS = (80, 81, 443, 5000, 5004, 5010)
EDGES = (1, 79, 84, 85, 480, 5001, 5005, 65535)
"""Beside and at the ends of the ranges that policies have."""
NAMES = ("http", "dns")
PORTLESS = (47, 99, 253)
FOREIGN = {4: "192.0.2.1", 6: "2001:db8:dead::1"}
OUTSIDE = ("203.0.113.5", "203.0.113.70", "198.51.100.9", "2001:db8:5::5", "2001:db8:5:1::9", "2001:db8:9::1")
BLOCKS = (
    ("203.0.113.0/24", ("203.0.113.64/26",)),
    ("203.0.113.0/24", ()),
    ("198.51.100.0/24", ("198.51.100.9/32",)),
    ("0.0.0.0/0", ("203.0.113.0/25", "10.44.1.0/24")),
    ("10.44.2.0/24", ("10.44.2.12/32",)),
    ("172.20.0.12/32", ()),
    ("2001:db8:5::/48", ("2001:db8:5:1::/64",)),
    ("2001:db8::/32", ()),
    ("fd44::/32", ()),
    ("::/0", ("2001:db8:9::/48",)),
    ("fd44:0:0:2::/64", ("fd44:0:0:2::10/124",)),
)
_SEGMENTS = tuple(map(ip_network, ("172.20.0.0/24", "fd00:172:20::/64")))
_SPECIAL = tuple(map(ip_network, ("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/3", "::/8", "fe80::/9", "ff00::/8")))


# worlds


class World(NamedTuple):
    """A world as it is written, as it is read, and probes of it as users write them."""

    manifests: list[Manifest]
    snapshot: Snapshot
    lines: list[Manifest]


@cache
def questions(seed: int, count: int) -> World:
    """The world of a seed with every oddity, and that many probes."""
    random = Random(seed)
    found = documents(random, twins=True)
    read_back = read(found)
    asked = probes(random, read_back, count, odd=True)
    return World(found, read_back, [probe.line(number) for number, probe in enumerate(asked)])


def fresh_seeds(count: int) -> list[int]:
    """Seeds that nobody has seen, or those of VALLUM_SEEDS=1,2,3."""
    given = os.environ.get("VALLUM_SEEDS")
    return (
        [int(text) for text in given.split(",")] if given else [SystemRandom().randrange(1 << 32) for _ in range(count)]
    )


def world(random: Random, pods: int = 9, policies: int = 9) -> Snapshot:
    """A world of two nodes, a few namespaces, some pods and some policies."""
    return read(documents(random, pods, policies))


def documents(random: Random, pods: int = 9, policies: int = 9, *, twins: bool = False) -> list[Manifest]:
    """The same as manifests. With `twins` two live pods may claim one address, as a cluster can show for a moment."""
    found = [_node(random, index) for index in (1, 2)]
    found += [_namespace(random, name) for name in SPACES]
    found += [_pod(random, index) for index in range(pods)]
    if twins and random.random() < 0.4:
        found.append(_twin(random, found, pods))
    found += [_policy(random, index) for index in range(random.randint(1, policies))]
    return found


def read(found: Iterable[Manifest]) -> Snapshot:
    """The world of these manifests. Files with two live pods of one address are refused: the second is read apart."""
    rest, twins, taken = [], [], set()
    for document in found:
        claimed = set(_claims(document))
        (rest if taken.isdisjoint(claimed) else twins).append(document)
        taken |= claimed
    manifest = read_manifest("world.json", msgspec.json.encode({"apiVersion": "v1", "kind": "List", "items": rest}))
    apart = [read_manifest("twin.json", msgspec.json.encode(twin)) for twin in twins]
    if errors := [error for one in apart for error in one.errors]:
        raise InputErrors(tuple(errors))
    things = [document.thing for one in apart for document in one.documents if document.thing]
    return snapshot_of((*assemble([manifest], "").objects, *things))


def shares_an_address(found: Iterable[Manifest]) -> bool:
    """Reports whether two live pods claim one address: such a world can be judged and cannot be built."""
    claims = [address for document in found for address in _claims(document)]
    return len(claims) > len(set(claims))


def _claims(document: Manifest) -> list[str]:
    """The addresses that a live pod claims for itself."""
    status = document.get("status", {})
    if document["kind"] != "Pod" or status.get("phase") in ("Succeeded", "Failed"):
        return []
    return [] if document["spec"].get("hostNetwork") else [one["ip"] for one in status.get("podIPs", ())]


def _document(version: str, kind: str, metadata: Manifest, **rest: Any) -> Manifest:
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **rest}


def _maybe(random: Random, value: Manifest, chance: float = 0.5) -> Manifest:
    return value if random.random() < chance else {}


def _node(random: Random, index: int) -> Manifest:
    published = {"annotations": {"vallum.dev/local-addresses": f"10.45.{index}.1, fd45:0:0:{index}::1"}}
    return _document(
        "v1",
        "Node",
        {"name": f"node{index}"} | _maybe(random, published),
        spec={"podCIDRs": [f"10.44.{index}.0/24", f"fd44:0:0:{index}::/64"]},
        status={
            "addresses": [
                {"type": "Hostname", "address": f"node{index}"},
                {"type": "InternalIP", "address": f"172.20.0.1{index}"},
                {"type": "InternalIP", "address": f"fd00:172:20::1{index}"},
            ]
        },
    )


def _namespace(random: Random, name: str) -> Manifest:
    found = {"team": random.choice("ab")} | _maybe(random, {"env": "prod"})
    return _document("v1", "Namespace", {"name": name} | _maybe(random, {"labels": found}, 0.9))


def _pod(random: Random, index: int) -> Manifest:
    """Most are plain; one in three lacks something, is over, or lives on its node's network."""
    node = 1 + index % 2
    addresses = [f"10.44.{node}.{10 + index}", f"fd44:0:0:{node}::{10 + index:x}"]
    namespace = UNDECLARED if random.random() < 0.06 else SPACES[index % 3]
    labels = {"app": random.choice(("web", "api", "db"))} | _maybe(random, {"tier": random.choice("xy")})
    metadata: Manifest = {"namespace": namespace, "name": f"p{index}"} | _maybe(random, {"labels": labels}, 0.94)
    metadata |= _maybe(random, {"creationTimestamp": f"2026-01-01T00:00:{random.randint(10, 20)}Z"}, 0.9)
    spec: Manifest = {"nodeName": f"node{node}"} | _containers(random)
    phase = random.choice(("Running", "Running", "Pending", "Unknown"))
    match random.randint(0, 23):
        case 0 | 1:
            addresses = addresses[:1]
        case 2:
            addresses = addresses[1:]
        case 3:
            addresses.reverse()
        case 4 | 5:  # not started yet, perhaps not even scheduled
            addresses, phase = [], "Pending"
            spec = _maybe(random, {"nodeName": f"node{node}"}) | _containers(random)
        case 6 | 7:  # its address may be another's by now
            addresses = random.choice((addresses, ["10.44.2.13", "fd44:0:0:2::d"]))
            phase = random.choice(("Succeeded", "Failed"))
        case 8 | 9:
            spec["hostNetwork"] = True
            addresses = [f"172.20.0.1{node}", f"fd00:172:20::1{node}"]
        case 10:  # terminating pods count until they are gone
            metadata["deletionTimestamp"] = "2026-01-01T00:01:00Z"
    status: Manifest = {"phase": phase}
    if addresses:
        status |= {"podIP": addresses[0], "podIPs": [{"ip": address} for address in addresses]}
    return _document("v1", "Pod", metadata, spec=spec, status=status)


def _twin(random: Random, found: list[Manifest], index: int) -> Manifest:
    """One more pod with the addresses of one that lives, older or newer than it."""
    living = [document for document in found if _claims(document)]
    twin = _pod(random, index)
    namespace = random.choice(SPACES)
    seconds = random.choice(("05", "15", "25"))
    twin["spec"]["nodeName"] = NODES[index % 2]
    twin["metadata"] |= {"namespace": namespace, "creationTimestamp": f"2026-01-01T00:00:{seconds}Z"}
    if living:
        twin["status"] = {"phase": "Running"} | {
            key: value for key, value in random.choice(living)["status"].items() if key != "phase"
        }
        twin["spec"].pop("hostNetwork", None)
    return twin


def _containers(random: Random) -> Manifest:
    """Ports of containers, of sidecars, and of init containers that end, which do not count."""
    meant: dict[tuple[str, str], int] = {}
    for _ in range(random.randint(0, 3)):
        meant.setdefault((random.choice(NAMES), random.choice(("TCP", "UDP", "SCTP"))), random.choice(PORTS))
    ports = [_container_port(random, name, protocol, number) for (name, protocol), number in meant.items()]
    here = random.randint(0, len(ports))
    spec: Manifest = {"containers": [{"name": "main", "ports": ports[:here]}]}
    if ports[here:]:
        restart = "Always" if random.random() < 0.6 else "OnFailure"
        first: Manifest = {"name": "first", "ports": ports[here:]}
        match random.randint(0, 2):
            case 0:
                spec["containers"].append(first | {"name": "second"})
            case 1:
                spec["initContainers"] = [first | {"restartPolicy": restart}]
            case _:
                spec["initContainers"] = [first]
    return spec


def _container_port(random: Random, name: str, protocol: str, number: int) -> Manifest:
    spoken = {} if protocol == "TCP" and random.random() < 0.5 else {"protocol": protocol}
    return _maybe(random, {"name": name}, 0.9) | spoken | {"containerPort": number}


# policies


def _policy(random: Random, index: int) -> Manifest:
    namespace = UNDECLARED if random.random() < 0.04 else random.choice(SPACES)
    types = random.choice((None, None, [], ["Ingress"], ["Egress"], ["Ingress", "Egress"], ["Egress", "Ingress"]))
    spec: Manifest = {} if types is None else {"policyTypes": types}
    spec |= _maybe(random, {"podSelector": _selector(random)}, 0.92)
    for way, peers, chance in (("ingress", "from", 0.75), ("egress", "to", 0.55)):
        rules = [_rule(random, peers) for _ in range(random.choice((0, 1, 1, 2)))]
        spec |= _maybe(random, {way: rules}, chance)
    return _document(
        "networking.k8s.io/v1", "NetworkPolicy", {"namespace": namespace, "name": f"policy{index}"}, spec=spec
    )


def _rule(random: Random, side: str) -> Manifest:
    found: Manifest = {}
    if random.random() < 0.82:
        found[side] = [_peer(random) for _ in range(random.choice((0, 1, 1, 1, 2, 2)))]
    if random.random() < 0.75:
        found["ports"] = [_port(random) for _ in range(random.choice((0, 1, 1, 2, 2)))]
    return found


def _peer(random: Random) -> Manifest:
    match random.randint(0, 3):
        case 0:
            return {"podSelector": _selector(random)}
        case 1:
            return {"namespaceSelector": _spaces(random)}
        case 2:
            return {"podSelector": _selector(random), "namespaceSelector": _spaces(random)}
        case _:
            network, excepts = random.choice(BLOCKS)
            return {"ipBlock": {"cidr": network} | ({"except": list(excepts)} if excepts else {})}


def _port(random: Random) -> Manifest:
    protocol = _maybe(random, {"protocol": random.choice(("TCP", "TCP", "UDP", "SCTP"))}, 0.7)
    match random.randint(0, 4):
        case 0:
            return protocol
        case 1 | 2:
            return protocol | {"port": random.choice(NAMES)}
        case 3:
            first = random.choice((1, 80, 5000))
            return protocol | {"port": first, "endPort": min(65535, first + random.choice((0, 4, 400, 65000)))}
        case _:
            return protocol | {"port": random.choice(PORTS)}


def _selector(random: Random) -> Manifest:
    return _built(random, "app", ("web", "api", "db"), "tier")


def _spaces(random: Random) -> Manifest:
    if random.random() < 0.2:
        return {"matchLabels": {"kubernetes.io/metadata.name": random.choice((*SPACES, UNDECLARED))}}
    return _built(random, "team", ("a", "b"), "env")


def _built(random: Random, key: str, values: tuple[str, ...], other: str) -> Manifest:
    """A selector of each operator and of two conditions at once."""
    value = random.choice(values)
    conditions: tuple[Manifest, ...] = (
        {"key": key, "operator": "In", "values": sorted(random.sample(values, random.randint(1, len(values))))},
        {"key": key, "operator": "NotIn", "values": [value]},
        {"key": other, "operator": "NotIn", "values": ["x", "prod"]},
        {"key": other, "operator": "Exists"},
        {"key": other, "operator": "DoesNotExist"},
    )
    match random.randint(0, 8):
        case 0:
            return {}
        case 1 | 2:
            return {"matchLabels": {key: value}}
        case 3:
            return {"matchLabels": {key: value}, "matchExpressions": [random.choice(conditions[2:])]}
        case _:
            return {"matchExpressions": [random.choice(conditions)]}


# probes


@dataclass(frozen=True)
class Probe:
    """One question. Ends by pod or by address text; `written`: another source address than the sender's.

    `icmp_type` None: an echo request. `of`: the number of the earlier probe whose flow an ICMP error belongs to.
    """

    source: PodId | str
    target: PodId | str
    protocol: int
    port: int
    family: int | None
    written: str | None = None
    icmp_type: int | None = None
    of: int | None = None

    def line(self, number: int) -> Manifest:
        """The probe as users write it (docs/formats)."""
        found: Manifest = {"id": number, "from": str(self.source), "to": str(self.target)}
        found["protocol"] = "ICMP" if self.protocol == ICMP else self.protocol
        optional = {"family": self.family, "source": self.written, "type": self.icmp_type, "of": self.of}
        found |= {key: value for key, value in optional.items() if value is not None}
        return found | ({"port": self.port} if self.port else {})


def probes(random: Random, snapshot: Snapshot, count: int, *, odd: bool = False) -> list[Probe]:
    """Random probes of which one end is a pod at least, and which can be sent.

    With `odd` some lie about their source, are ICMP errors, or name a pod that has finished.
    """
    reachable = _Reachable(snapshot)
    found: list[Probe] = []
    while len(found) < count:
        probe = reachable.probe(random)
        if probe is not None:
            found.append(reachable.made_odd(random, probe, found) if odd and random.random() < 0.12 else probe)
    return found


class _Reachable:
    """The ends that a world has: pods by family (0: known by name only), its nodes, and what its blocks cut apart."""

    def __init__(self, snapshot: Snapshot) -> None:
        nodes = {node.name: {address.version for address in node.addresses} for node in snapshot.nodes.values()}
        self._pods: dict[PodId, set[int]] = {}
        for id_, pod in sorted(snapshot.pods.items()):
            versions = nodes.get(pod.node or "", set()) if pod.host_network else {one.version for one in pod.addresses}
            if not pod.finished:
                self._pods[id_] = versions
        self._hosted = {id_ for id_, pod in snapshot.pods.items() if pod.host_network}
        self._finished = sorted(id_ for id_, pod in snapshot.pods.items() if pod.finished)
        self._held = sorted({str(one) for pod in snapshot.pods.values() for one in pod.addresses if not pod.finished})
        self._addresses = sorted({*OUTSIDE, *_cut_points(snapshot)})
        self._near = sorted({str(one) for node in snapshot.nodes.values() for one in node.addresses} | set(self._held))

    def probe(self, random: Random) -> Probe | None:
        """None where the two ends that were drawn share no family, or neither is a pod."""
        pods = list(self._pods)
        if not pods:
            raise AssertionError("a world without a pod that runs has nothing to ask")
        ends: list[PodId | str] = [random.choice(pods), random.choice(pods)]
        if random.random() < 0.45:
            near = random.random() < 0.3
            ends[random.randint(0, 1)] = random.choice(self._near if near else self._addresses)
        shared = self._versions(ends[0]) & self._versions(ends[1])
        hosts = [end for end in ends if not isinstance(end, PodId) or end in self._hosted]
        if len(hosts) == 2 or not shared:
            return None
        protocol = random.choice((TCP, TCP, TCP, UDP, UDP, SCTP, ICMP, random.choice(PORTLESS)))
        ported = protocol in (TCP, UDP, SCTP)
        port = random.choice(PORTS if random.random() < 0.75 else EDGES) if ported else 0
        family = random.choice((*sorted(shared), *sorted(shared), None))
        return Probe(ends[0], ends[1], protocol, port, family)

    def _versions(self, end: PodId | str) -> set[int]:
        if isinstance(end, PodId):
            return self._pods[end] or {4, 6}
        return {ip_address(end).version}

    def made_odd(self, random: Random, probe: Probe, before: list[Probe]) -> Probe:
        family = probe.family or min(self._versions(probe.source) & self._versions(probe.target))
        match random.randint(0, 7):
            case 0 if self._finished:
                return replace(probe, source=random.choice(self._finished))
            case 1 if self._finished:
                return replace(probe, target=random.choice(self._finished))
            case 2 | 3 | 4 if isinstance(probe.source, str) or self._pods[probe.source]:
                held = [one for one in self._held if ip_address(one).version == family]
                return replace(probe, family=family, written=random.choice([FOREIGN[family], *held]))
            case 5 | 6 if flows := [index for index, one in enumerate(before) if one.family and not one.icmp_type]:
                of = random.choice(flows)
                return replace(_error(before[of].family or 4, before[of].target, before[of].source), of=of)
            case _:
                return _error(family, probe.source, probe.target)


def _error(family: int, source: PodId | str, target: PodId | str) -> Probe:
    """Destination unreachable."""
    return Probe(source, target, ICMP, 0, family, icmp_type=3 if family == 4 else 1)


def _cut_points(snapshot: Snapshot) -> set[str]:
    """The addresses at and beside the ends of every block and exception."""
    rules = [rule for policy in snapshot.policies.values() for rule in (policy.ingress or ()) + (policy.egress or ())]
    blocks = [peer.block for rule in rules for peer in rule.peers or () if peer.block]
    found = set()
    for network in {network for block in blocks for network in (block.network, *block.excepts)}:
        make = type(network.network_address)
        low, high = int(network.network_address), int(network.broadcast_address)
        inside = [value for value in (low - 1, low, high, high + 1) if 0 < value < 1 << network.max_prefixlen]
        found |= {make(value) for value in inside}
    return {str(one) for one in found if not any(one in special for special in _SPECIAL)}


def sendable(snapshot: Snapshot, asked: Iterable[Probe]) -> list[Probe]:
    """Those of the probes that a lab of this world can send, and whose outcome is their own.

    Outside addresses must not lie among those of pods and nodes. Two probes of a portless protocol in opposite
    directions are one flow to connection tracking, so these go one way only. Nobody can tell that a packet from
    outside lies when it bears the address of a pod on another node (stance 23 speaks of local pods).
    """
    ends, kept = Ends(snapshot), []
    for probe in asked:
        try:
            packet = ends.packet(parse(probe.line(0)))
        except InputError:
            continue
        reached = all(_is_held(snapshot, end) for end in (probe.source, probe.target))
        one_way = probe.protocol in (TCP, UDP, SCTP, ICMP) or packet.source < packet.destination
        honest = probe.written is None or _shows(ends, probe)
        if reached and one_way and honest and probe.of is None:
            kept.append(probe)
    return kept


def _is_held(snapshot: Snapshot, end: PodId | str) -> bool:
    if isinstance(end, PodId):
        return True
    address = ip_address(end)
    held = {one for pod in snapshot.pods.values() if not pod.finished for one in pod.addresses}
    held |= {one for node in snapshot.nodes.values() for one in node.addresses}
    ranges = [*_SEGMENTS, *(network for node in snapshot.nodes.values() for network in node.pod_ranges)]
    return address in held or not any(address in network for network in ranges)


def _shows(ends: Ends, probe: Probe) -> bool:
    """Reports whether a lab can show what becomes of the lie: the record of an echo speaks of its number, not ours."""
    assert probe.written is not None
    sender, claimed = ends.end(str(probe.source)), ends.end(probe.written)
    outside = claimed.pod is None and probe.written not in FOREIGN.values()
    itself = sender.pod == ends.end(str(probe.target)).pod
    return sender.pod is not None and not itself and probe.protocol != ICMP and not outside
