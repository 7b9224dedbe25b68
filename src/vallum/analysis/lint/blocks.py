"""Rules about ipBlocks: exceptions that say nothing, families that do not fit, addresses that are pods or Services.

A block is about the addresses that pods see, after a Service's was replaced (stances 4 and 5). Ignores blocks that
another block of the rule includes: `redundancy` tells of those.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network

from vallum.analysis.lint.covers import Networks, within
from vallum.analysis.lint.facts import Facts, each_peer, each_rule
from vallum.analysis.lint.finding import Finding, Path, about
from vallum.model.address import Network, Packed, pack, span
from vallum.model.objects import Block, Policy, PolicyRule
from vallum.policy.ruleset import Way

_EVERYTHING = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}


@dataclass(frozen=True, slots=True)
class _Place:
    """An ipBlock where it stands."""

    policy: Policy
    way: Way
    path: Path
    block: Block

    def finding(self, rule: str, text: str, cure: str, *more: str | int) -> Finding:
        return about(self.policy, rule, (*self.path, "ipBlock", *(more or ("cidr",))), text, cure)


def blocks(facts: Facts) -> Iterator[Finding]:
    """All that is odd about single ipBlocks, and about those of one rule together."""
    ranges = Networks(network for node in facts.snapshot.nodes.values() for network in node.pod_ranges)
    virtual = sorted((pack(a), str(service.id)) for service in facts.written.services for a in service.addresses)
    for policy in facts.policies:
        for way, path, rule in each_rule(policy):
            found = [_Place(policy, way, place, peer.block) for place, peer in each_peer(way, path, rule) if peer.block]
            for place in found:
                yield from _excepts(place)
                yield from _families(facts, place)
                yield from _who(facts, place, ranges, virtual)
            yield from _one_family(facts, rule, found)


def _excepts(place: _Place) -> Iterator[Finding]:
    block = place.block
    if block.excepts and not any(True for _ in _left(block)):
        text = f"the exceptions take all of {block.network} away, so this peer matches nothing"
        yield place.finding("except-everything", text, "remove the peer, or except less", "except")
        return
    for index, cut in enumerate(block.excepts):
        if not within(cut, block.network):
            text = f"{cut} does not lie inside of {block.network}, so it excepts nothing"
            yield place.finding("except-outside", text, "an exception cuts from its own block", "except", index)
            continue
        wider = [
            other
            for number, other in enumerate(block.excepts)
            if number != index and within(cut, other) and (cut != other or number < index)
        ]
        if wider:
            text = f"{cut} is excepted by {wider[0]} already"
            yield place.finding("except-twice", text, "remove it", "except", index)


def _left(block: Block) -> Iterator[tuple[int, int]]:
    """The ranges of a block that its exceptions leave."""
    first, last = map(int, span(block.network))
    for low, high in sorted(map(span, block.excepts)):
        if first < low <= last:
            yield first, low - 1
        if low <= last:
            first = max(first, high + 1)
    if first <= last:
        yield first, last


def _families(facts: Facts, place: _Place) -> Iterator[Finding]:
    """A block of one family matches no address of the other (stance 8)."""
    version = place.block.network.version
    families = {version for kind in facts.subjects(place.policy) for version in kind.families}
    if families and version not in families:
        other = next(iter(families))
        text = f"{place.block.network} is IPv{version}, but the selected pods have IPv{other} addresses only"
        yield place.finding("family-mismatch", text, f"write the IPv{other} block that is meant")


def _one_family(facts: Facts, rule: PolicyRule, found: list[_Place]) -> Iterator[Finding]:
    """Everything in one family only, for pods that have both."""
    whole = {place.block.network.version: place for place in found if place.block.network.prefixlen == 0}
    if len(whole) != 1:
        return
    version, place = next(iter(whole.items()))
    other = _EVERYTHING[10 - version]
    families = {version for kind in facts.subjects(place.policy) for version in kind.families}
    if families == {4, 6} and not any(
        peer.block and peer.block.network.version == other.version for peer in rule.peers or ()
    ):
        text = f"{place.block.network} is every IPv{version} address, and the selected pods have IPv{other.version} too"
        yield place.finding(
            "one-family", text, f"add an ipBlock with the IPv{other.version} addresses, such as {other}"
        )


def _who(facts: Facts, place: _Place, ranges: Networks, virtual: list[tuple[Packed, str]]) -> Iterator[Finding]:
    """Whose addresses a block holds: the internet's, pods', or those of Services, which no pod ever sees."""
    block = place.block
    if place.way is Way.INGRESS and block.network.prefixlen == 0:
        text = f"{block.network} lets every IPv{block.network.version} address in, those of the internet included"
        yield place.finding("open-to-all", text, "name the ranges that need it, if they are known")
    inside = next(iter(facts.inside(block)), None)
    if _of_pods(block.network, ranges, inside is not None):
        text = f"{block.network} is made of addresses of pods, which change with every new pod"
        yield place.finding("block-of-pods", text, "select the pods by label: podSelector, namespaceSelector")
    elif inside is not None:
        text = f"{block.network} matches pods too, such as {inside}"
        yield place.finding("block-holds-pods", text, "except the ranges of pods, if only others are meant")
    else:
        yield from _virtual(facts, place, virtual)


def _of_pods(network: Network, ranges: Networks, holds: bool) -> bool:
    return any(True for _ in ranges.around(network)) or (holds and network.prefixlen == network.max_prefixlen)


def _virtual(facts: Facts, place: _Place, virtual: list[tuple[Packed, str]]) -> Iterator[Finding]:
    low, high = span(place.block.network)
    held = [name for address, name in virtual if low <= address <= high]
    own = any(low <= pack(address) <= high for node in facts.snapshot.nodes.values() for address in node.addresses)
    if held and not own and place.block.network.prefixlen:
        text = f"{place.block.network} is where Service {held[0]} has its address; policies see its pods' addresses"
        yield place.finding("block-of-service", text, "select the pods behind the Service by label")
