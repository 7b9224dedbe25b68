"""A node that has tunnels holds an address of each family among those of its pods, for as long as it has them."""

from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from ipam.layouts import layout, leaf, network, split
from vallum.agent.nodelease import NodeLease
from vallum.ipam import NODE, Request, plan
from vallum.ipam.ledger import Ledger
from vallum.ipam.pools import Pools
from vallum.model.objects import PodId

BOTH = layout(
    [network("four", "10.0.0.0/24", 30), network("six", "fd00::/120", 122)], split("t", ["four", "six"], leaf())
)
SHOPS = layout([network("four", "10.0.0.0/24", 30, tenants=("shop",))], split("t", ["four"], leaf()))


def lease(folder: Path, laid: object = BOTH) -> tuple[NodeLease, Ledger]:
    ledger = Ledger(folder / "ledger")
    ledger.commit(lambda state: (plan.plan(state, laid).change, None))  # type: ignore[arg-type]
    pools = Pools(ledger, "h")
    pools.join()
    return NodeLease(pools, lambda owner: ledger.state().held("h", owner)), ledger


def test_addresses_are_held_while_there_are_tunnels_and_pods_get_others(tmp_path: Path) -> None:
    found, ledger = lease(tmp_path)
    assert found.addresses == ()
    found.keep(wanted=True)
    assert sorted(each.version for each in found.addresses) == [4, 6]
    pod = found.allocate(Request("p", PodId("s", "p"))).addresses
    assert not {*pod} & {*found.addresses}
    found.keep(wanted=False)
    assert (found.addresses, ledger.state().held("h", NODE)) == ((), ())


def test_they_are_the_same_after_a_restart_and_before_it_is_known_whether_they_are_wanted(tmp_path: Path) -> None:
    first, ledger = lease(tmp_path)
    first.keep(wanted=True)
    again = NodeLease(Pools(ledger, "h"), lambda owner: ledger.state().held("h", owner))
    again.keep(wanted=None)
    assert again.addresses == first.addresses
    again.keep(wanted=True)
    assert again.addresses == first.addresses


def test_what_the_kernel_says_of_pods_does_not_take_them_away(tmp_path: Path) -> None:
    found, ledger = lease(tmp_path)
    found.keep(wanted=True)
    given = found.allocate(Request("p", PodId("s", "p"))).addresses
    found.adopt({"q": (ip_address("10.0.0.9"),)})
    found.keep(wanted=None)
    assert len(found.addresses) == 2
    assert not ledger.state().held("h", "p"), given


def test_where_no_network_is_for_everybody_it_is_told(tmp_path: Path) -> None:
    found, _ = lease(tmp_path, SHOPS)
    found.keep(wanted=True)
    assert found.addresses == ()
    assert found.problem.startswith("packets of the node itself to pods of other nodes come from an address outside")
    found.keep(wanted=False)
    assert found.problem == ""


@pytest.mark.parametrize("cidr", ["10.0.0.0/24"])
def test_they_lie_inside_of_the_node_s_own_ranges(tmp_path: Path, cidr: str) -> None:
    found, ledger = lease(tmp_path)
    found.keep(wanted=True)
    blocks = [block.cidr for block in ledger.state().blocks_of("h")]
    assert all(any(each in block for block in blocks) for each in found.addresses)
    assert any(each in ip_network(cidr) for each in found.addresses)
