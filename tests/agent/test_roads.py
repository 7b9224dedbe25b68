"""The roads of an agent: the kernel is asked for what is new, and nothing is planned or sent twice for the same."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from vallum.agent import roads
from vallum.agent.roads import Roads
from vallum.agent.settings import Settings
from vallum.kernel.sync import Standing, SyncReport
from vallum.model.address import Address
from vallum.model.errors import KernelError
from vallum.model.ground import Ground, Hop
from vallum.model.objects import Node, Pool
from vallum.model.snapshot import Snapshot, snapshot_of
from vallum.model.wiring import Vxlan, Wiring


def node(number: int) -> Node:
    ranges = (ip_network(f"10.44.{number}.0/24"), ip_network(f"fd44:0:0:{number}::/64"))
    return Node(f"node{number}", (), (ip_address(f"172.20.0.{number}"),), ranges)


ONE, TWO, THREE = map(node, (1, 2, 3))


@dataclass(slots=True)
class Kernel:
    """Knows a way to everybody, notes what it is asked, and can refuse."""

    asked: list[set[str]] = field(default_factory=list)
    gated: list[Wiring] = field(default_factory=list)
    before: Standing | None = None
    sent: list[tuple[Wiring, bool]] = field(default_factory=list)
    order: list[str] = field(default_factory=list)
    refuses: bool = False

    def look(self, addresses: Iterable[Address]) -> Ground:
        wanted = set(addresses)
        self.asked.append({str(each) for each in wanted})
        return Ground({each: Hop("eth0", None, ip_address("172.20.0.1"), 1500) for each in wanted}, 1500)

    def sync(self, wiring: Wiring, before: Standing, *, moved: bool) -> SyncReport:
        self.order.append("routes")
        if self.refuses:
            raise KernelError("no")
        self.sent.append((wiring, moved))
        assert self.before is None or before == self.before
        self.before = Standing(wiring)
        return SyncReport(Standing(wiring))

    def apply(self, wiring: Wiring, *, doubt: bool) -> tuple[str, ...]:
        self.order.append("gate")
        self.gated.append(wiring)
        return ("a rule was gone",) if doubt else ()


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    found = Kernel()
    monkeypatch.setattr(roads.ground, "look", found.look)
    monkeypatch.setattr(roads, "sync", found.sync)
    return found


def made(kernel: Kernel, backend: str = "vxlan") -> Roads:
    return Roads(Settings("node1", Path("world"), backend=backend), gate=kernel)  # type: ignore[arg-type]


def sources(wiring: Wiring) -> set[str]:
    (device,) = wiring.devices
    assert isinstance(device, Vxlan)
    return {str(each) for each in device.addresses}


def test_where_only_nodes_have_changed_the_kernel_is_asked_for_the_new_ones(kernel: Kernel) -> None:
    mine = made(kernel)
    mine.plan(snapshot_of([ONE, TWO]), "node1", looked=True)
    wiring = mine.plan(snapshot_of([ONE, TWO, THREE]), "node1", looked=False)
    assert kernel.asked == [{"172.20.0.2"}, {"172.20.0.3"}]
    assert len(wiring.forwards) == 2
    assert wiring.problems == ()


def test_where_links_have_moved_it_is_asked_for_all_and_where_nothing_has_for_none(kernel: Kernel) -> None:
    mine, world = made(kernel), snapshot_of([ONE, TWO, THREE])
    first = mine.plan(world, "node1", looked=True)
    assert mine.plan(replace(world, revision="2"), "node1", looked=False) is first
    assert len(kernel.asked) == 1
    assert mine.plan(world, "node1", looked=True) is first
    assert kernel.asked[0] == kernel.asked[1] == {"172.20.0.2", "172.20.0.3"}


def test_a_node_that_went_is_forgotten(kernel: Kernel) -> None:
    mine = made(kernel)
    mine.plan(snapshot_of([ONE, TWO, THREE]), "node1", looked=True)
    assert len(mine.plan(snapshot_of([ONE, TWO]), "node1", looked=False).forwards) == 1
    mine.plan(snapshot_of([ONE, TWO, THREE]), "node1", looked=False)
    assert kernel.asked[-1] == {"172.20.0.3"}


def test_a_pool_that_changes_is_planned_for_at_once(kernel: Kernel) -> None:
    mine, world = made(kernel), snapshot_of([ONE, TWO])
    pool = Pool("n", ip_network("10.44.0.0/16"), encapsulation="never")
    mine.plan(world, "node1", looked=True)
    assert {route.device for route in mine.plan(replace(world, pools={"n": pool}), "node1", looked=False).routes} == {
        None,
        "vallum.vxlan4",
    }


@pytest.mark.parametrize(
    ("world", "own", "expected"),
    [
        (snapshot_of([ONE]), None, {"10.44.1.0/32", "fd44:0:0:1::/128"}),
        (snapshot_of([replace(ONE, groups=(ip_network("10.44.0.0/16"),))]), None, set()),
        (snapshot_of([ONE]), (ip_address("10.44.1.77"),), {"10.44.1.77/32"}),
        (snapshot_of([replace(ONE, pod_ranges=(ip_network("10.44.1.0/31"),))]), None, set()),
    ],
    ids=["its ranges spare one", "blocks are handed out whole", "it holds one", "too small to spare one"],
)
def test_the_node_s_own_packets_have_an_address_that_no_pod_gets(
    kernel: Kernel, world: Snapshot, own: tuple[Address, ...] | None, expected: set[str]
) -> None:
    mine = made(kernel)
    mine.sources = own
    assert sources(mine.plan(world, "node1", looked=True)) == expected


def test_without_a_back_end_nothing_is_asked_and_nothing_is_wished(kernel: Kernel) -> None:
    assert made(kernel, "none").plan(snapshot_of([ONE, TWO]), "node1", looked=True) == Wiring()
    assert kernel.asked == []


def test_the_gate_stands_before_anything_can_come_in(kernel: Kernel) -> None:
    mine = made(kernel)
    mine.sync(mine.plan(snapshot_of([ONE, TWO]), "node1", looked=True), looked=True, doubt=True)
    assert kernel.order == ["gate", "routes"]
    assert mine.mended == ("a rule was gone",)


def test_what_stands_is_not_sent_again_and_after_a_refusal_nothing_is_taken_for_granted(kernel: Kernel) -> None:
    mine = made(kernel)
    wiring = mine.plan(snapshot_of([ONE, TWO]), "node1", looked=True)
    more = mine.plan(snapshot_of([ONE, TWO, THREE]), "node1", looked=False)
    mine.sync(wiring, looked=True, doubt=False)
    mine.sync(wiring, looked=False, doubt=False)
    assert kernel.sent == [(wiring, True)]
    kernel.refuses = True
    with pytest.raises(KernelError):
        mine.sync(more, looked=False, doubt=False)
    kernel.refuses = False
    mine.sync(more, looked=False, doubt=False)
    mine.sync(wiring, looked=False, doubt=False)
    assert [moved for _, moved in kernel.sent] == [True, True, False]
