"""Whether one part of a policy includes another in every world: selectors, peers, ports, rules.

Judged on what they say, not on who matches today, so that what is called useless stays useless when pods come.
What cannot be told so is not included. The one fact used is the labels of the policy's own namespace.
"""

from collections.abc import Iterable, Iterator, Mapping

from vallum.model.address import Network, span
from vallum.model.objects import NAME_LABEL, Block, Peer, PolicyPort, PolicyRule
from vallum.model.selector import EVERYTHING, Operator, Requirement, Selector
from vallum.policy.selectors import matches


class Networks:
    """Networks by prefix: those around a network are found by one look-up for each length that occurs."""

    def __init__(self, networks: Iterable[Network]) -> None:
        self._known: dict[tuple[int, int, int], Network] = {_prefix(one, one.prefixlen): one for one in networks}
        self._lengths = sorted({(version, length) for version, length, _ in self._known})

    def around(self, network: Network) -> Iterator[Network]:
        """The known networks that include this one, itself among them, the widest first."""
        for version, length in self._lengths:
            if version == network.version and length <= network.prefixlen:
                found = self._known.get(_prefix(network, length))
                if found is not None:
                    yield found


def _prefix(network: Network, length: int) -> tuple[int, int, int]:
    return network.version, length, int(network.network_address) >> (network.max_prefixlen - length)


def implies(narrow: Selector, wide: Selector) -> bool:
    """Reports whether all that match `narrow` match `wide`."""
    return all(any(_implies(one, other) for one in narrow.requirements) for other in wide.requirements)


def _implies(one: Requirement, other: Requirement) -> bool:
    if one.key != other.key:
        return False
    had, wanted = {*one.values}, {*other.values}
    match one.operator, other.operator:
        case Operator.IN, Operator.IN:
            return had <= wanted
        case Operator.IN, Operator.NOT_IN:
            return not had & wanted
        case Operator.NOT_IN, Operator.NOT_IN:
            return had >= wanted
        case Operator.DOES_NOT_EXIST, (Operator.NOT_IN | Operator.DOES_NOT_EXIST):
            return True
        case ((Operator.IN | Operator.EXISTS), Operator.EXISTS):
            return True
        case _:
            return False


def block_in(narrow: Block, wide: Block) -> bool:
    """Reports whether every address of `narrow` is one of `wide`."""
    if not within(narrow.network, wide.network):
        return False
    cuts = [cut for cut in wide.excepts if within(cut, narrow.network) or within(narrow.network, cut)]
    return all(any(within(cut, own) for own in narrow.excepts) for cut in cuts)


def within(inner: Network, outer: Network) -> bool:
    """Reports whether one network lies in another; never across families, which are the top bits of an address."""
    (first, last), (low, high) = span(inner), span(outer)
    return low <= first and last <= high


def peer_in(narrow: Peer, wide: Peer, own: Mapping[str, str]) -> bool:
    """Reports whether `wide` admits everybody whom `narrow` admits. `own`: labels of the policy's namespace."""
    if narrow.block is not None or wide.block is not None:
        return narrow.block is not None and wide.block is not None and block_in(narrow.block, wide.block)
    if narrow == wide:
        return True
    if wide.pods is None and wide.namespaces is None:
        return False
    return _spaces_in(narrow, wide, own) and implies(narrow.pods or EVERYTHING, wide.pods or EVERYTHING)


def _spaces_in(narrow: Peer, wide: Peer, own: Mapping[str, str]) -> bool:
    if wide.namespaces is None:
        here = Selector((Requirement(NAME_LABEL, Operator.IN, (own[NAME_LABEL],)),))
        return narrow.namespaces is None or implies(narrow.namespaces, here)
    if narrow.namespaces is None:
        return matches(wide.namespaces, own)
    return implies(narrow.namespaces, wide.namespaces)


def port_in(narrow: PolicyPort, wide: PolicyPort) -> bool:
    """Reports whether `wide` includes every port of `narrow`."""
    if narrow.protocol != wide.protocol:
        return False
    if wide.port is None or narrow == wide:
        return True
    if not isinstance(narrow.port, int) or not isinstance(wide.port, int):
        return False
    return wide.port <= narrow.port and (narrow.end or narrow.port) <= (wide.end or wide.port)


def rule_in(narrow: PolicyRule, wide: PolicyRule, own: Mapping[str, str]) -> bool:
    """Reports whether `wide` allows all that `narrow` allows."""
    return _ports_in(narrow, wide) and _peers_in(narrow, wide, own)


def _ports_in(narrow: PolicyRule, wide: PolicyRule) -> bool:
    if not wide.ports:
        return True
    return bool(narrow.ports) and all(any(port_in(port, other) for other in wide.ports) for port in narrow.ports or ())


def _peers_in(narrow: PolicyRule, wide: PolicyRule, own: Mapping[str, str]) -> bool:
    if wide.peers is None:
        return True
    return narrow.peers is not None and all(
        any(peer_in(peer, other, own) for other in wide.peers) for peer in narrow.peers
    )
