"""Rules about what says nothing new: the same twice, or the narrower beside the wider.

Whatever is named here can be removed and no verdict changes (a property test removes it). Lists of thousands stay
quick: equal entries meet by hash, blocks by the networks around them, and only short lists are compared in pairs.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import TypeVar

from vallum.analysis.lint.covers import Networks, block_in, implies, peer_in, port_in, rule_in
from vallum.analysis.lint.facts import Facts, each_peer, each_port, each_rule, rules_of, some
from vallum.analysis.lint.finding import Finding, Path, about
from vallum.model.address import Network
from vallum.model.objects import NAME_LABEL, Block, Peer, Policy, PolicyPort, PolicyRule
from vallum.policy.ruleset import Way

_PAIRS = 100
"""Lists up to this long are compared in pairs; in longer ones, only what is equal or includes everything is found."""

T = TypeVar("T")


def redundancy(facts: Facts) -> Iterator[Finding]:
    """Duplicates and shadows inside of single policies."""
    for policy in facts.policies:
        space = facts.snapshot.namespaces.get(policy.id.namespace)
        own = dict(space.labels) if space else {NAME_LABEL: policy.id.namespace}
        for way, path, rule in each_rule(policy):
            yield from _ports(policy, path, rule)
            yield from _peers(policy, way, path, rule, own)
        for way in Way:
            yield from _rules(policy, way, rules_of(policy, way) or (), own)


def _ports(policy: Policy, path: Path, rule: PolicyRule) -> Iterator[Finding]:
    entries = list(each_port(path, rule))
    if len(entries) < 2:
        return
    repeated = _repeated([port for _, port in entries], _port_key)
    for index, first in repeated.items():
        yield about(policy, "duplicate-port", entries[index][0], f"the same as ports[{first}]", "remove it")
    if len(entries) > _PAIRS:
        return
    for index, (place, port) in enumerate(entries):
        for other, (_, wide) in enumerate(entries):
            if index == other or index in repeated or other in repeated:
                continue
            if port_in(port, wide):
                yield about(policy, "shadowed-port", place, f"ports[{other}] includes it", "remove it")
                break
            if index > other and _overlap(port, wide) and not port_in(wide, port):
                text = f"its range overlaps that of ports[{other}]"
                yield about(policy, "range-overlap", place, text, "join the two ranges")
                break


def _port_key(port: PolicyPort) -> Hashable:
    return port.protocol, port.port, None if port.end == port.port else port.end


def _overlap(one: PolicyPort, other: PolicyPort) -> bool:
    if one.protocol != other.protocol or not isinstance(one.port, int) or not isinstance(other.port, int):
        return False
    return one.port <= (other.end or other.port) and other.port <= (one.end or one.port)


def _peers(policy: Policy, way: Way, path: Path, rule: PolicyRule, own: Mapping[str, str]) -> Iterator[Finding]:
    entries = list(each_peer(way, path, rule))
    if len(entries) < 2:
        return
    peers = [peer for _, peer in entries]
    side = "from" if way is Way.INGRESS else "to"
    repeated = _repeated(peers, _peer_key)
    for index, first in repeated.items():
        yield about(policy, "duplicate-peer", entries[index][0], f"the same as {side}[{first}]", "remove it")
    selecting = [index for index, peer in enumerate(peers) if not peer.block and index not in repeated]
    shadows = _shadows(selecting, lambda one, other: peer_in(peers[one], peers[other], own))
    for index, wide in (shadows | _block_shadows(peers, repeated)).items():
        yield about(policy, "shadowed-peer", entries[index][0], f"{side}[{wide}] admits it already", "remove it")


def _peer_key(peer: Peer) -> Hashable:
    return (peer.block.network, frozenset(peer.block.excepts)) if peer.block else peer


def _block_shadows(peers: Sequence[Peer], repeated: Mapping[int, int]) -> dict[int, int]:
    """Networks nest or are disjoint: whatever includes a block is one of the networks around it."""
    at = defaultdict[Network, list[tuple[int, Block]]](list)
    for index, peer in enumerate(peers):
        if peer.block and index not in repeated:
            at[peer.block.network].append((index, peer.block))
    known = Networks(at)
    found: dict[int, int] = {}
    for network, entries in at.items():
        wider = [entry for around in known.around(network) for entry in at[around]]
        for index, block in entries if len(wider) > 1 else ():
            for other, wide in wider:
                if other != index and other not in found and block_in(block, wide):
                    found[index] = other
                    break
    return found


def _rules(policy: Policy, way: Way, rules: Sequence[PolicyRule], own: Mapping[str, str]) -> Iterator[Finding]:
    if len(rules) < 2:
        return
    repeated = _repeated(rules, rule_key)
    for index, first in repeated.items():
        place = ("spec", str(way), index)
        yield about(policy, "duplicate-rule", place, f"the same as {way}[{first}]", "remove it")
    rest = [index for index in range(len(rules)) if index not in repeated]
    for index, wide in _shadows(rest, lambda one, other: rule_in(rules[one], rules[other], own)).items():
        text = f"{way}[{wide}] allows all of it already"
        yield about(policy, "shadowed-rule", ("spec", str(way), index), text, "remove it, or narrow the wider one")


def rule_key(rule: PolicyRule) -> Hashable:
    """Equal for rules that say the same in another order."""
    peers = None if rule.peers is None else frozenset(map(_peer_key, rule.peers))
    return peers, None if not rule.ports else frozenset(map(_port_key, rule.ports))


def _repeated(items: Sequence[T], key: Callable[[T], Hashable]) -> dict[int, int]:
    """Index of each repetition -> index of the first."""
    first: dict[Hashable, int] = {}
    found = {}
    for index, item in enumerate(items):
        known = first.setdefault(key(item), index)
        if known != index:
            found[index] = known
    return found


def _shadows(indexes: Sequence[int], includes: Callable[[int, int], bool]) -> dict[int, int]:
    """Index of each item that another includes -> index of the other, which itself stays."""
    found: dict[int, int] = {}
    for one in indexes if len(indexes) <= _PAIRS else ():
        for other in indexes:
            if other != one and other not in found and includes(one, other):
                found[one] = other
                break
    return found


def policies(facts: Facts) -> Iterator[Finding]:
    """Policies that repeat another, and rules that lie under another policy's rule that allows everything."""
    grouped: dict[str, list[Policy]] = {}
    for policy in facts.policies:
        grouped.setdefault(policy.id.namespace, []).append(policy)
    for mine in grouped.values():
        first: dict[Hashable, Policy] = {}
        for policy in mine:
            known = first.setdefault(_policy_key(policy), policy)
            if known is not policy:
                text = f"says the same as {known.id}"
                yield about(policy, "duplicate-policy", ("metadata", "name"), text, "remove one of them")
        for way in Way:
            yield from _under_allow_all(mine, way)


def _policy_key(policy: Policy) -> Hashable:
    sides = (rules_of(policy, way) for way in Way)
    return policy.pods, *(None if rules is None else frozenset(map(rule_key, rules)) for rules in sides)


def _under_allow_all(mine: Sequence[Policy], way: Way) -> Iterator[Finding]:
    open_to_all: dict[Hashable, tuple[Policy, int]] = {}
    for policy in mine:
        for index, rule in enumerate(rules_of(policy, way) or ()):
            if rule.peers is None and not rule.ports:
                open_to_all.setdefault(policy.pods, (policy, index))
    for wide, at in open_to_all.values():
        useless = [
            policy.id
            for policy in mine
            if policy is not wide
            and any(rule.peers is not None or rule.ports for rule in rules_of(policy, way) or ())
            and implies(policy.pods, wide.pods)
        ]
        if useless:
            text = f"allows everything, so the {way} rules of {some(useless)} add nothing"
            cure = "remove this rule, or theirs"
            yield about(wide, "allow-all", ("spec", str(way), at), text, cure)
