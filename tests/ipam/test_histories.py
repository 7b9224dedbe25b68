"""Any history over a ledger file: no address twice, none outside of its group, none lost, and a crash changes nothing.

The oracle looks at every address one by one; the code under test never does.
"""

import tempfile
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from itertools import pairwise
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ipam import oracle
from ipam.layouts import network, same
from vallum.ipam import ExhaustedError, Lease, Request, blackouts, blocks, place, plan, usage
from vallum.ipam.choose import REST
from vallum.ipam.ledger import Ledger
from vallum.ipam.records import Change, FixedHost, Group, Network, Topology
from vallum.ipam.state import State
from vallum.ipam.topology import Layout, check, padded, spots
from vallum.ipam.verify import verify
from vallum.model.address import Address, pack
from vallum.model.errors import InputError
from vallum.model.objects import PodId
from vallum.model.selector import Operator, Requirement, Selector, labels

HOSTS = [f"h{number}" for number in range(5)]
OWNERS = [f"p{number}" for number in range(24)]
TENANTS = ["red", "blue"]
MARKS = st.fixed_dictionaries({"zone": st.sampled_from("ab")}, optional={"rack": st.sampled_from("xy")})
ASKED = st.sampled_from([{}, {}, {"zone": "a"}, {"zone": "b"}, {"rack": "x"}])
PRESENT = st.sampled_from(HOSTS)

SPACES = st.sampled_from([Selector(), Selector(), Selector((Requirement("team", Operator.IN, ("core",)),))])
CIDRS = [("10.0.0.0/27", (29, 30, 31)), ("10.0.1.0/28", (28, 30, 32)), ("fd00::/123", (125, 127))]
FOREIGN = st.sampled_from([ip_network(cidr)[offset] for cidr, _ in CIDRS for offset in range(16)])


@st.composite
def networks(draw: st.DrawFn) -> tuple[Network, ...]:
    found = []
    for order, (cidr, masks) in enumerate(draw(st.lists(st.sampled_from(CIDRS), min_size=1, unique=True))):
        tenants = draw(st.sampled_from([(), (), ("red",)]))
        base = network(cidr, cidr, draw(st.sampled_from(masks)), order=order)
        within = list(base.cidr.subnets(new_prefix=base.cidr.max_prefixlen - 1))
        found.append(
            network(
                base.name,
                cidr,
                base.block_mask,
                order=order,
                tenants=tenants,
                spill=bool(tenants) and draw(st.booleans()),
                blocks=draw(st.sampled_from(["host", "host", "tenant"])),
                namespaces=draw(SPACES),
                reserved=tuple(draw(st.lists(st.sampled_from(within), max_size=1))),
                subnet=draw(st.booleans()),
            )
        )
    return tuple(found)


LEAVES = st.builds(
    Group, assignment=ASKED.map(labels), host_prefix=st.none(), name=st.sampled_from(["", "", "one", "two"])
)
FIXED = st.just(Group(hosts=(FixedHost("h0", ip_address("192.0.2.1")),)))
TREES = st.lists(
    st.one_of(
        LEAVES,
        FIXED,
        st.builds(Group, assignment=ASKED.map(labels), groups=st.lists(LEAVES, min_size=1, max_size=3).map(tuple)),
    ),
    min_size=1,
    max_size=3,
)


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    """A few networks, each with a tree of its own, or one tree for all; sometimes a prefix for each host."""
    whole = draw(networks())
    topologies = []
    for each in whole:
        tree = draw(TREES)
        if draw(st.integers(0, 3)) == 0:
            tree = [Group(host_prefix=each.block_mask - 1 if each.block_mask > each.cidr.prefixlen else None)]
        topologies.append(Topology(name=each.name, networks=(each.name,), groups=padded(tree)))
    return Layout(whole, tuple(topologies))


def legal(layout: Layout) -> bool:
    try:
        check(layout)
    except InputError:
        return False
    return True


class Histories(RuleBasedStateMachine):
    """One ledger; `live` is what a naive reader of the answers would write down."""

    @initialize(layout=layouts().filter(legal))
    def begin(self, layout: Layout) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.now, self.boot = 1000.0, "one"
        self.live: dict[tuple[str, str], tuple[Address, ...]] = {}
        self.open()
        self.lay(layout)
        for number, host in enumerate(HOSTS[:4]):
            self.join(host, {"zone": "ab"[number % 2], "rack": "xxyy"[number]})

    def open(self) -> None:
        self.ledger = Ledger(Path(self.folder.name) / "ledger", lambda: self.now, lambda: self.boot)

    @property
    def state(self) -> State:
        return self.ledger.state()

    def do(self, decide: Callable[[State], Change]) -> bool:
        try:
            self.ledger.commit(lambda state: (decide(state), None))
        except InputError:
            return False
        return True

    @rule(layout=layouts().filter(legal))
    def lay(self, layout: Layout) -> None:
        before = {name: each.places for name, each in self.state.hosts.items()}
        stays = {name for name in before if any(host == name for host, _ in self.live)}
        if not self.do(lambda state: plan.plan(state, layout).change):
            assert before == {name: each.places for name, each in self.state.hosts.items()}
        assert stays <= self.state.hosts.keys()  # what is live and where is seen to by the invariants

    @rule(host=PRESENT, marks=MARKS)
    def join(self, host: str, marks: dict[str, str]) -> None:
        others = {name: each.places for name, each in self.state.hosts.items()}
        self.do(lambda state: place.join(state, host, labels(marks)))
        assert others.items() <= {name: each.places for name, each in self.state.hosts.items()}.items()

    @precondition(lambda self: self.state.hosts)
    @rule(host=PRESENT)
    def leave(self, host: str) -> None:
        others = {name: each.places for name, each in self.state.hosts.items() if name != host}
        if self.do(lambda state: place.leave(state, host, self.ledger.now())):
            self.live = {key: held for key, held in self.live.items() if key[0] != host}
            assert others == {name: each.places for name, each in self.state.hosts.items()}

    @rule(host=PRESENT, marks=MARKS)
    def relabel(self, host: str, marks: dict[str, str]) -> None:
        before = self.state.hosts.get(host)
        if self.do(lambda state: place.relabel(state, host, labels(marks))):
            assert before is not None
            assert set(before.places) <= set(self.state.hosts[host].places)

    @precondition(lambda self: self.state.hosts)
    @rule(data=st.data(), tenant=st.sampled_from(TENANTS), core=st.booleans(), count=st.integers(1, 9))
    def allocate(self, data: st.DataObject, tenant: str, core: bool, count: int) -> None:
        host = data.draw(st.sampled_from(sorted(self.state.hosts)))
        free = [owner for owner in OWNERS if (host, owner) not in self.live]
        for owner in free[:count]:
            self.allocate_one(host, owner, tenant, core)

    @rule(tenant=st.sampled_from(TENANTS), core=st.just(True))
    def fill_every_host(self, tenant: str, core: bool) -> None:
        for host in sorted(self.state.hosts):
            for owner in OWNERS:
                if (host, owner) not in self.live and not self.allocate_one(host, owner, tenant, core):
                    break

    @precondition(lambda self: self.live)
    @rule(data=st.data(), seconds=st.sampled_from([0.0, 10.0, 31.0]))
    def churn(self, data: st.DataObject, seconds: float) -> None:
        """What is freed is asked for again, in another order."""
        gone = data.draw(st.lists(st.sampled_from(sorted(self.live)), min_size=1, unique=True))
        for host, owner in gone:
            self.free(owner, host)
            self.now += seconds / len(gone)
        for host, owner in sorted(gone):
            self.allocate_one(host, owner, "red", core=True)

    def allocate_one(self, host: str, owner: str, tenant: str, core: bool) -> bool:
        request = Request(owner, PodId(tenant, owner), (), labels({"team": "core"} if core else {}))
        now, state = self.ledger.now(), self.state
        could = {version: list(oracle.available(state, host, request, version)) for version in (4, 6)}
        times = {address: oracle.freed(state, address) for each in could.values() for address in each}
        try:
            lease: Lease = self.ledger.commit(lambda state: blocks.allocate(state, host, request, now))
        except ExhaustedError:
            served = {each.network for each in state.hosts[host].places}
            assert any(not could[each.cidr.version] for each in blocks.serving(state, request) if each.name in served)
            return False
        except InputError:
            assert not any(could.values())
            return False
        for address in lease.addresses:
            family = could[address.version]
            assert address in family
            self.check_rest(times[address], [times[each] for each in family], now)
        self.live[host, owner] = lease.addresses
        return True

    def check_rest(self, given: float | None, others: list[float | None], now: float) -> None:
        """One that rests is given only when all do, and then the one that rests longest."""
        if given is not None and now < given + REST:
            assert None not in others
            assert given == min(each for each in others if each is not None)

    @rule(owner=st.sampled_from(OWNERS), host=PRESENT)
    def free(self, owner: str, host: str) -> None:
        self.do(lambda state: blocks.free(state, host, owner, self.ledger.now()))
        self.live.pop((host, owner), None)

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def free_some_in_use(self, data: st.DataObject) -> None:
        for host, owner in data.draw(st.lists(st.sampled_from(sorted(self.live)), min_size=1, unique=True)):
            self.free(owner, host)

    @rule(cidr=st.sampled_from(["10.0.0.0/29", "10.0.0.4/30", "10.0.0.16/28", "10.0.1.3/32", "fd00::8/126"]))
    def black_out_or_lift(self, cidr: str) -> None:
        where = ip_network(cidr)
        self.do(lambda state: (blackouts.lift if where in state.blackouts else blackouts.black_out)(state, where))

    @rule(seconds=st.sampled_from([1.0, 29.0, 31.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(reboot=st.booleans())
    def crash(self, reboot: bool) -> None:
        """The process is gone in the middle of a commit: what it had decided was never said to anybody."""
        state = self.state
        before, then = same(state), self.ledger.now()
        self.lose()
        self.ledger.close()
        if reboot:
            self.boot, self.now = self.boot + "x", 5.0
        self.open()
        assert same(self.state) == before
        if not reboot:
            assert self.ledger.now() == then

    def lose(self) -> None:
        def decide(state: State) -> tuple[Change, None]:
            for host in state.hosts:
                blocks.allocate(state, host, Request("lost", PodId("red", "lost")), self.ledger.now())
            raise InputError("", "the end")

        try:
            self.ledger.commit(decide)
        except InputError:
            return
        raise AssertionError("a decision that failed was kept")

    @rule(host=PRESENT, keep=st.integers(0, 2**24), foreign=st.lists(FOREIGN, max_size=2, unique=True))
    def adopt(self, host: str, keep: int, foreign: list[Address]) -> None:
        """The node says what is in use there; some of what we know is gone, and some that it has we never gave."""
        mine = {owner: held for (where, owner), held in self.live.items() if where == host}
        kept = {owner: held for owner, held in mine.items() if keep >> int(owner[1:]) & 1}
        if host not in self.state.hosts:
            return
        known = {address for held in mine.values() for address in held}
        more = {f"p{90 + number}": (at,) for number, at in enumerate(foreign) if at not in known}
        more = {owner: held for owner, held in more.items() if owner not in mine}
        self.do(lambda state: blocks.adopt(state, host, kept | more, self.ledger.now()))
        for owner in mine.keys() - kept.keys():
            del self.live[host, owner]
        self.live |= {(host, owner): held for owner, held in more.items() if self.state.held(host, owner)}
        for (address,) in more.values():  # taken in or a stray, it is never handed out: see the oracle
            assert self.state.network_at(pack(address)) is None or oracle.used(self.state, address)

    @invariant()
    def what_is_live_is_what_is_used(self) -> None:
        held = {(host, owner): set(addresses) for host, owner, addresses in self.state.holding()}
        assert held == {key: {pack(each) for each in addresses} for key, addresses in self.live.items()}
        given = [address for addresses in self.live.values() for address in addresses]
        assert len(given) == len(set(given))

    @invariant()
    def every_address_is_inside_of_its_hosts_group(self) -> None:
        for (host, _), addresses in self.live.items():
            regions = [self.state.region(each) for each in self.state.hosts[host].places]
            assert all(any(address in region for region in regions) for address in addresses)

    @invariant()
    def nothing_contradicts_itself(self) -> None:
        assert not [finding for finding in verify(self.state) if finding.rule not in {"stray", "twice"}]

    @invariant()
    def no_address_is_lost(self) -> None:
        state = self.state
        for each in state.networks.values():
            counted = usage.usage_of(state, each, each.cidr, self.ledger.now())
            truth = oracle.count(state, each, self.ledger.now())
            assert (counted.used, counted.resting, counted.closed, counted.free) == (
                truth["used"], truth["resting"], truth["closed"], truth["free"]
            )  # fmt: skip

    @invariant()
    def groups_aggregate(self) -> None:
        """The groups of each level are ranges of one size, side by side, which fill their parent."""
        for name, topology in self.state.topology_of.items():
            whole = self.state.networks[name].cidr
            leaves = [spot.cidr for spot in spots(whole, topology.groups) if not spot.group.groups]
            assert sum(each.num_addresses for each in leaves) == whole.num_addresses
            assert all(int(one[-1]) + 1 == int(other[0]) for one, other in pairwise(leaves))

    @invariant()
    def the_indexes_are_those_of_the_records(self) -> None:
        """Whatever the way here: a state made of the same records answers the same."""
        fresh = State(self.state.records(), self.state.revision)
        for host in fresh.hosts:
            for tenant in TENANTS:
                request = Request("next", PodId(tenant, "next"))
                assert self.ask(fresh, host, request) == self.ask(self.state, host, request)

    def ask(self, state: State, host: str, request: Request) -> object:
        try:
            return blocks.allocate(state, host, request, self.ledger.now())[1]
        except InputError as error:
            return str(error)

    def teardown(self) -> None:
        if hasattr(self, "ledger"):
            self.ledger.close()
            self.folder.cleanup()


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=20, stateful_step_count=25, deadline=None)
