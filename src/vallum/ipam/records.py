"""What the ledger holds, as frozen records: networks, topologies, hosts, blocks, blackouts and strays.

A decision never edits a record: it gives a `Change` of new ones, and whoever owns the State applies it after the store
took it. What this file ignores: which records are legal together (`topology`), and where they are kept (`store`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network, IPv6Network
from typing import NamedTuple

from vallum.ipam import Owner
from vallum.model.address import Address, Packed, family, unpack
from vallum.model.address import Network as Cidr
from vallum.model.objects import Pool
from vallum.model.selector import EVERYTHING, Labels, Selector

Slots = tuple[int, ...]
"""The place of a group in its tree: the slot at each level. A slot never changes while its group stands."""

PER_HOST, PER_TENANT = "host", "tenant"


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A range of addresses, cut into blocks of one size.

    Attributes:
        name: unique.
        cidr: overlaps no other network.
        block_mask: prefix length of its blocks.
        order: networks are tried by it, ties by name.
        tenants: only these (namespaces) get addresses here; none listed: everybody.
        spill: a listed tenant may go on to the networks that list none when this one is full.
        blocks: `host`: a block belongs to one host; `tenant`: to one tenant on one host.
        nodes: hosts that may use it.
        namespaces: namespaces that may use it, by their labels.
        reserved: never handed out.
        subnet: it is a subnet of somebody's fabric: its own address, gateway and broadcast are never handed out.
        gateway: of such a subnet; its first address where none is given.
        backend: how packets travel to it, as in `model.objects.Pool`; so the next three.
        revision: of the store at the last write; 0 for one that was never written.
    """

    name: str
    cidr: Cidr
    block_mask: int
    order: int = 0
    tenants: tuple[str, ...] = ()
    spill: bool = False
    blocks: str = PER_HOST
    nodes: Selector = EVERYTHING
    namespaces: Selector = EVERYTHING
    reserved: tuple[Cidr, ...] = ()
    subnet: bool = False
    gateway: Address | None = None
    backend: str | None = None
    encapsulation: str | None = None
    masquerade: bool | None = None
    mtu: int | None = None
    revision: int = 0

    @property
    def pool(self) -> Pool:
        """How packets travel to it."""
        return Pool(self.name, self.cidr, self.backend, self.encapsulation, self.masquerade, self.mtu)


@dataclass(frozen=True, slots=True)
class FixedHost:
    """A host that a group lists by name and address; such a group takes no other."""

    name: str
    address: Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A node of the tree. It holds groups, or fixed hosts, or is a leaf that is open for hosts.

    Attributes:
        name: for people, may be empty.
        assignment: labels that a host must have to be placed here or below.
        routing: free text, kept and given back.
        groups: in the order of their slots, always a power of two; the spare ones are closed.
        hosts: the only hosts of this leaf.
        host_prefix: each host of this leaf has a range of this prefix length to itself.
        spare: closed until a topology names it.
    """

    name: str = ""
    assignment: Labels = ()
    routing: str = ""
    groups: tuple["Group", ...] = ()
    hosts: tuple[FixedHost, ...] = ()
    host_prefix: int | None = None
    spare: bool = False

    @property
    def leaf(self) -> bool:
        """Reports whether hosts are placed in it."""
        return not self.groups and not self.spare

    def label(self) -> str:
        """For people: the name, or what it asks of a host."""
        return self.name or ",".join(f"{key}={value}" for key, value in self.assignment)


SPARE = Group(spare=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """A tree that splits each of its networks in the same way."""

    name: str
    networks: tuple[str, ...]
    groups: tuple[Group, ...]
    revision: int = 0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a host is in one network, and its own range if its group gives each host one."""

    network: str
    path: Slots
    prefix: Cidr | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A node that gives out addresses."""

    name: str
    labels: Labels = ()
    addresses: tuple[Address, ...] = ()
    places: tuple[Place, ...] = ()
    revision: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A run of addresses of one owner. Offsets count from its first address.

    Attributes:
        network: the network it was cut from.
        first: its first address, packed.
        mask: its prefix length.
        host: whose it is; none when it is empty, it may then become anybody's of its group.
        tenant: whose it is besides, in a network whose blocks are per tenant.
        used: who has which.
        freed: when (store seconds) those were freed that were in use once and are not now.
    """

    network: str
    first: Packed
    mask: int
    host: str | None = None
    tenant: str = ""
    used: Mapping[int, Owner] = field(default_factory=dict)
    freed: Mapping[int, float] = field(default_factory=dict)
    revision: int = 0

    @property
    def size(self) -> int:
        """Number of its addresses."""
        return 1 << ((32 if family(self.first) == 4 else 128) - self.mask)

    @property
    def cidr(self) -> Cidr:
        """Its range."""
        kind = IPv4Network if family(self.first) == 4 else IPv6Network
        return kind((int(unpack(self.first)), self.mask))


@dataclass(frozen=True, slots=True, kw_only=True)
class Blackout:
    """A range of one network of which nothing is handed out. Addresses in use there stay until they are freed."""

    cidr: Cidr
    revision: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stray:
    """An address of a network that a host uses though no block of its own holds it; it is never handed out."""

    address: Address
    host: str
    owner: Owner
    revision: int = 0


Record = Network | Topology | Host | Block | Blackout | Stray


class Key(NamedTuple):
    """Names a record in a store."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


def key_of(record: Record) -> Key:
    """The key of a record: its kind, and its name or range."""
    match record:
        case Network() | Topology() | Host():
            return Key(type(record).__name__, record.name)
        case Block():
            return Key("Block", f"{unpack(record.first)}/{record.mask}")
        case Blackout():
            return Key("Blackout", str(record.cidr))
        case Stray():
            return Key("Stray", f"{record.address}@{record.host}")


@dataclass(frozen=True, slots=True)
class Change:
    """What a decision does, at one instant. The revision in each record is the one that it replaces; 0 is a new one."""

    puts: tuple[Record, ...] = ()
    gone: tuple[Record, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.puts or self.gone)

    def stamped(self, revision: int) -> "Change":
        """The same as it stands in a store that wrote it with this revision."""
        return Change(tuple(replace(record, revision=revision) for record in self.puts), self.gone)


NOTHING = Change()
