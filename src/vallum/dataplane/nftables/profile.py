"""One profile of one family as rules: what its pods may exchange with which remote ends.

Rules are written once for all looks with REMOTE and PORT in place of header fields. The few largest groups of peers
that may do the same have a rule each; the others share one concatenated set, and what that cannot hold (port ranges,
ipBlocks) fans out by address to small leaf chains. So the number of rules is bounded whatever the policies.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from vallum.dataplane.nftables.program import NftSet
from vallum.model.address import Packed, family, show
from vallum.policy.classify import Half
from vallum.policy.peers import digest
from vallum.policy.rows import NOTHING, Allowed
from vallum.policy.ruleset import PortMatch, Way

OWN_RULE = 4
"""Groups that get a rule of their own; each costs every packet of the profile one look-up."""
FEW = 8
"""A range of at most this many ports is written as single ports into the hash set."""
CELLS = 4096
"""A group whose addresses x ports exceed this goes to a leaf chain instead of single cells."""

_NAMES = {6: "tcp", 17: "udp", 132: "sctp"}
Span = tuple[Packed, Packed]


@dataclass(frozen=True, slots=True)
class Fan:
    """A map from remote address to leaf chain."""

    declaration: NftSet
    leaves: dict[str, str]


@dataclass(slots=True)
class ProfileRules:
    """Rules and leaf chains of a profile with the sets that they name; fans are filled in for each look."""

    name: str
    rules: list[str] = field(default_factory=list)
    leaves: dict[str, list[str]] = field(default_factory=dict)
    sets: dict[str, NftSet] = field(default_factory=dict)
    fans: dict[str, Fan] = field(default_factory=dict)


@dataclass(slots=True)
class _Group:
    """Remote ends that may do the same beyond what everybody may."""

    ports: tuple[PortMatch, ...] | None
    addresses: list[Packed] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)

    @property
    def hash(self) -> str:
        """Names the group by its ports, so that the name stays while members come and go."""
        return _hash(self.ports)


@lru_cache(4096)
def _hash(ports: tuple[PortMatch, ...] | None) -> str:
    """Most groups of most programs have been named before."""
    return digest("everything" if ports is None else repr(ports))[:8]


def profile_rules(half: Half, way: Way, version: int, name: str) -> ProfileRules | None:
    """The rules of a profile, None where everything is allowed anyway."""
    base = half.allowed(name, 0)
    if base is None:
        return None
    short = f"{'in' if way is Way.INGRESS else 'eg'}"
    writer = _Writer(ProfileRules(name), f"~{short}_{name}", f"~{short}{version}_{name}", version)
    writer.rules += writer.ports(half.ports.matches(base), f"{writer.shared}_ports")
    groups = _groups(half, name, base, version)
    groups.sort(key=lambda group: (-len(group.addresses) - len(group.spans), group.hash))
    for group in groups[:OWN_RULE]:
        writer.own(group)
    writer.rest(groups[OWN_RULE:])
    return writer.found


def _groups(half: Half, name: str, base: frozenset[int], version: int) -> list[_Group]:
    groups: dict[Allowed, _Group] = {}
    for number, (addresses, spans) in half.groups.items():
        row = half.allowed(name, number)
        extra = None if row is None else row - base
        if extra == NOTHING:
            continue
        if extra not in groups:
            groups[extra] = _Group(None if extra is None else half.ports.matches(extra))
        groups[extra].addresses += [address for address in addresses if family(address) == version]
        groups[extra].spans += [(low, high) for low, high in spans if family(low) == version]
    return [group for group in groups.values() if group.addresses or group.spans]


@dataclass(slots=True)
class _Writer:
    found: ProfileRules
    shared: str
    prefix: str
    version: int

    @property
    def rules(self) -> list[str]:
        return self.found.rules

    @rules.setter
    def rules(self, rules: list[str]) -> None:
        self.found.rules = rules

    @property
    def address_type(self) -> str:
        return f"ipv{self.version}_addr"

    def own(self, group: _Group) -> None:
        """One rule for the addresses and one for the blocks of a group."""
        named = []
        if group.addresses:
            name = f"{self.prefix}_{group.hash}"
            self.found.sets[name] = NftSet(self.address_type, {show(address): "" for address in group.addresses})
            named.append(name)
        if group.spans:
            named.append(self._spans(group.spans))
        for name in named:
            if group.ports is None:
                self.rules.append(f"REMOTE @{name} return")
            else:
                ports = self.ports(group.ports, f"{self.shared}_{group.hash}_ports")
                self.rules += [f"REMOTE @{name} {rule}" for rule in ports]

    def rest(self, groups: list[_Group]) -> None:
        """All other groups: cells of single ports, then fans by address and by block to leaf chains."""
        cells: dict[str, str] = {}
        addresses: dict[str, str] = {}
        blocks: dict[str, str] = {}
        for group in groups:
            exact, wide = _split(group.ports or ())
            fits = group.ports is not None and len(group.addresses) * len(exact) <= CELLS
            if fits:
                cells |= {f"{show(one)} . {proto} . {port}": "" for one in group.addresses for proto, port in exact}
            if not fits or wide:
                leaf = self._leaf(group, wide if fits else group.ports, "w" if fits else "")
                addresses |= {show(address): leaf for address in group.addresses}
            if group.spans:
                leaf = self._leaf(group, group.ports, "")
                blocks |= {_span_text(span): leaf for span in group.spans}
        if cells:
            name = f"{self.prefix}_cells"
            self.found.sets[name] = NftSet(f"{self.address_type} . inet_proto . inet_service", cells)
            self.rules.append(f"REMOTE . meta l4proto . th PORT @{name} return")
        self._fan("peers", addresses, "")
        self._fan(f"blocks_{digest(*sorted(blocks))[:8]}", blocks, "interval")

    def _leaf(self, group: _Group, ports: Iterable[PortMatch] | None, mark: str) -> str:
        name = f"{self.found.name}_{group.hash}{mark}"
        if name not in self.found.leaves:
            ports_name = f"{self.shared}_{group.hash}{mark}_ports"
            self.found.leaves[name] = ["return"] if ports is None else self.ports(tuple(ports), ports_name)
        return name

    def _fan(self, suffix: str, leaves: dict[str, str], flags: str) -> None:
        if leaves:
            self.found.fans[suffix] = Fan(NftSet(self.address_type, flags=flags, data="verdict"), leaves)
            self.rules.append(f"REMOTE vmap @FAN:{suffix}")

    def _spans(self, spans: list[Span]) -> str:
        texts = [_span_text(span) for span in spans]
        name = f"{self.prefix}_b{digest(*texts)[:8]}"
        self.found.sets[name] = NftSet(self.address_type, dict.fromkeys(texts, ""), flags="interval")
        return name

    def ports(self, matches: tuple[PortMatch, ...], name: str) -> list[str]:
        """Rules without their left part that return when the port is one of these."""
        exact, wide = _split(matches)
        rules = []
        if len(exact) == 1:
            rules.append(f"{_NAMES[exact[0][0]]} PORT {exact[0][1]} return")
        elif exact:
            self.found.sets[name] = NftSet(
                "inet_proto . inet_service", {f"{proto} . {port}": "" for proto, port in exact}
            )
            rules.append(f"meta l4proto . th PORT @{name} return")
        protocols = sorted({match.protocol for match in wide})
        return rules + [self._ranges([match for match in wide if match.protocol == number]) for number in protocols]

    def _ranges(self, matches: list[PortMatch]) -> str:
        protocol = matches[0].protocol
        texts = [f"{match.first}-{match.last}" for match in matches]
        if texts == ["0-65535"]:
            return f"meta l4proto {protocol} return"
        if len(texts) == 1:
            return f"{_NAMES[protocol]} PORT {texts[0]} return"
        name = f"~ranges_{digest(*texts)[:12]}"
        self.found.sets[name] = NftSet("inet_service", dict.fromkeys(texts, ""), flags="interval")
        return f"{_NAMES[protocol]} PORT @{name} return"


def _split(matches: Iterable[PortMatch]) -> tuple[list[tuple[int, int]], list[PortMatch]]:
    """Single ports for the hash set, and the ranges that are too wide for it."""
    exact: list[tuple[int, int]] = []
    wide = []
    for match in matches:
        if match.last - match.first < FEW:
            exact += [(match.protocol, port) for port in range(match.first, match.last + 1)]
        else:
            wide.append(match)
    return exact, wide


def _span_text(span: Span) -> str:
    low, high = span
    return show(low) if low == high else f"{show(low)}-{show(high)}"
