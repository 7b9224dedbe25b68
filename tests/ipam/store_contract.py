"""What every store must do: a class of tests that is run with a fixture `stores` of the store's own.

`stores()` opens the same records once more, as another process would; the first call opens them empty.
"""

from collections.abc import Callable
from ipaddress import ip_address

import pytest

from ipam.layouts import RACKS, layout, network, same
from vallum.ipam import ExhaustedError, Request, blocks, own, place, plan, romana
from vallum.ipam.choose import REST
from vallum.ipam.pools import Pools
from vallum.ipam.records import Change
from vallum.ipam.state import State
from vallum.ipam.store import Store
from vallum.ipam.topology import Layout
from vallum.ipam.verify import verify
from vallum.model.errors import InputError
from vallum.model.objects import PodId
from vallum.model.selector import labels

Stores = Callable[[], Store]
SMALL = layout([network("n", "10.0.0.0/28")])


def request(owner: str, *wanted: str) -> Request:
    return Request(owner, PodId("shop", owner), tuple(map(ip_address, wanted)))


def lay(store: Store, of: Layout) -> None:
    store.commit(lambda state: (plan.plan(state, of).change, None))


def take(pools: Pools, owner: str, *wanted: str) -> str:
    return " ".join(map(str, pools.allocate(request(owner, *wanted)).addresses))


class StoreContract:
    """Inherit, and give a fixture `stores`."""

    def test_what_was_committed_is_there_for_whoever_opens_it_next(self, stores: Stores) -> None:
        one = stores()
        lay(one, romana.read(RACKS))
        host = Pools(one, "h")
        host.join(labels({"rack": "b"}), (ip_address("192.0.2.1"),))
        take(host, "pod")
        take(host, "gone")
        host.free("gone")
        assert same(stores().state()) == same(one.state())
        assert own.write(stores().state()) == own.write(one.state())

    def test_two_that_share_it_see_each_others_changes_before_they_decide(self, stores: Stores) -> None:
        one, other = stores(), stores()
        lay(one, SMALL)
        for store, name in ((one, "a"), (other, "b")):
            Pools(store, name).join()
        both = (Pools(one, "a"), Pools(other, "b"))
        taken = [take(pools, f"p{number}") for number in range(8) for pools in both]
        assert len(set(taken)) == 16
        for store in (one, other):
            with pytest.raises(ExhaustedError):
                take(Pools(store, "a"), "more")
        assert same(one.state()) == same(other.state())
        assert not verify(one.state())

    def test_deletions_reach_the_others(self, stores: Stores) -> None:
        one, other = stores(), stores()
        lay(one, SMALL)
        Pools(one, "a").join()
        assert list(other.state().hosts) == ["a"]
        Pools(one, "a").leave()
        assert not other.state().hosts
        with pytest.raises(InputError, match="Host a: is not here"):
            take(Pools(other, "a"), "pod")

    def test_a_decision_that_fails_changes_nothing(self, stores: Stores) -> None:
        store = stores()
        lay(store, SMALL)
        before = same(store.state())

        def decide(state: State) -> tuple[Change, None]:
            place.join(state, "h")
            raise InputError("", "no")

        with pytest.raises(InputError, match="no"):
            store.commit(decide)
        assert same(store.state()) == before
        assert same(stores().state()) == before

    def test_a_decision_to_change_nothing_gives_its_answer(self, stores: Stores) -> None:
        store = stores()
        assert store.commit(lambda _: (Change(), "fine")) == "fine"

    def test_every_kind_of_record_comes_back_as_it_was(self, stores: Stores) -> None:
        store = stores()
        fixed = own.record("Topology", "n", {"networks": ["n"], "map": [{"hostPrefix": 28}]})
        spec = {
            "cidr": "10.0.0.0/24", "blockMask": 30, "order": 3, "tenants": ["shop"], "spill": True, "blocks": "tenant",
            "nodeSelector": {"matchLabels": {"disk": "ssd"}}, "subnet": True, "gateway": "10.0.0.9",
            "namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "Exists"}]},
            "reserved": ["10.0.0.128/25"],
            "backend": "ipip", "encapsulation": "always", "masquerade": True, "mtu": 1280,
        }  # fmt: skip
        put = (
            own.record("Network", "n", spec),
            fixed,
            own.record("Blackout", "b", {"cidr": "10.0.0.16/28"}),
            own.record("Stray", "s", {"address": "10.0.0.1", "host": "h", "owner": "eth0"}),
        )
        store.commit(lambda _: (Change(put), None))
        Pools(store, "h").join(labels({"disk": "ssd"}), (ip_address("192.0.2.1"), ip_address("2001:db8::1")))
        store.commit(
            lambda state: blocks.allocate(state, "h", Request("p", PodId("shop", "p"), (), labels({"team": "x"})), 5.5)
        )
        assert same(stores().state()) == same(store.state())
        assert {type(each).__name__ for each in stores().state().records()} == {
            "Network", "Topology", "Blackout", "Stray", "Host", "Block",
        }  # fmt: skip

    def test_a_late_or_double_free_takes_nothing_from_a_new_owner(self, stores: Stores) -> None:
        store = stores()
        lay(store, SMALL)
        pools = Pools(store, "h")
        pools.join()
        take(pools, "old", "10.0.0.5")
        pools.free("old")
        pools.free("old")
        store.commit(lambda state: blocks.allocate(state, "h", request("new", "10.0.0.5"), store.now() + REST))
        pools.free("old")
        assert store.state().held("h", "new")

    def test_what_the_node_uses_wins_over_an_older_store(self, stores: Stores) -> None:
        """As after a backup was restored: what is in use and unknown is taken in, and never handed out."""
        store = stores()
        lay(store, SMALL)
        pools = Pools(store, "h")
        pools.join()
        take(pools, "stopped")
        pools.adopt({"running": (ip_address("10.0.0.3"),), "node": (ip_address("192.0.2.7"),)})
        rest = [take(pools, f"p{number}") for number in range(15)]
        assert "10.0.0.3" not in rest
        assert len(set(rest)) == 15
        assert not verify(store.state())
