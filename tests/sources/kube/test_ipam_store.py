"""The shared store over the API does what every store must, and gives way to whoever was faster."""

from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import ip_network

import pytest

from ipam.layouts import layout, network
from ipam.store_contract import SMALL, StoreContract, Stores, lay, take
from kubeipam import Server, server
from vallum.ipam.pools import Pools
from vallum.ipam.records import Blackout, Change, Record
from vallum.ipam.state import State
from vallum.model.errors import KernelError
from vallum.sources.kube.ipam_api import ConflictError
from vallum.sources.kube.ipam_bridge import AwayError, Remote
from vallum.sources.kube.ipam_forms import Stored
from vallum.sources.kube.ipam_store import TRIES, KubeStore


@pytest.fixture
def api() -> Iterator[Server]:
    with server() as found:
        yield found


@pytest.fixture
def stores(api: Server) -> Iterator[Stores]:
    with ExitStack() as open_:
        yield lambda: KubeStore(open_.enter_context(api.remote()), sleep=lambda _: None)


class TestKubeStore(StoreContract):
    pass


def test_a_block_is_one_object_named_after_its_range(api: Server, stores: Stores) -> None:
    store = stores()
    lay(store, layout([network("n", "10.0.0.0/28"), network("six", "fd00::/120", 124)]))
    Pools(store, "h").join()
    take(Pools(store, "h"), "pod")
    found = api.specs("blocks")
    assert set(found) == {"10.0.0.0-29", "fd00---124"}
    assert found["10.0.0.0-29"] == {"network": "n", "cidr": "10.0.0.0/29", "host": "h", "used": {"0": "pod"}}


class Faster(KubeStore):
    """Somebody writes between the decision and its writing, as often as told."""

    def __init__(self, remote: Remote, other: KubeStore, times: int) -> None:
        super().__init__(remote, sleep=lambda _: None)
        self.other, self.times = other, times

    def _write(self, change: Change) -> None:
        if change and self.times:
            self.times -= 1
            take(Pools(self.other, "other"), f"rival{self.times}")
        super()._write(change)


def test_who_is_second_decides_again(api: Server, stores: Stores) -> None:
    other = stores()
    assert isinstance(other, KubeStore)
    lay(other, layout([network("n", "10.0.0.0/24", 32)]))
    Pools(other, "other").join()
    Pools(other, "h").join()
    with api.remote() as remote:
        mine = take(Pools(Faster(remote, other, 3), "h"), "pod")
        assert mine == "10.0.0.3", "each of the addresses before was taken in the last moment"
        with pytest.raises(KernelError, match=f"{TRIES} times"):
            take(Pools(Faster(remote, other, 99), "h"), "late")
    assert not other.state().held("h", "late")


def test_a_change_that_meets_a_faster_writer_half_way_leaves_nothing(stores: Stores) -> None:
    store, other = stores(), stores()
    lay(store, SMALL)
    first, second = (Blackout(cidr=ip_network(cidr)) for cidr in ("10.0.0.0/30", "10.0.0.4/30"))
    tries = []

    def decide(state: State) -> tuple[Change, int]:
        tries.append(len(state.blackouts))
        if not other.state().blackouts:
            other.commit(lambda _: (Change((second,)), None))
        puts: tuple[Record, ...] = (first, second) if second.cidr not in state.blackouts else (first,)
        return Change(puts), len(puts)

    assert store.commit(decide) == 1
    assert tries == [0, 1], "the first of the two was taken back before the second try"
    assert set(other.state().blackouts) == {first.cidr, second.cidr}


def test_an_api_that_is_away_is_named_and_nothing_is_kept(api: Server, stores: Stores) -> None:
    store = stores()
    lay(store, SMALL)
    api.do(api.api._server.close)  # type: ignore[union-attr]
    api.do(api.api.cut)
    with pytest.raises(AwayError, match=api.api.url):
        Pools(store, "h").join()


def test_a_deletion_is_of_the_revision_that_was_seen(api: Server) -> None:
    with api.remote() as remote:
        made = remote.put(Blackout(cidr=ip_network("10.0.0.0/30")))
        later = remote.put(made.record)
        with pytest.raises(ConflictError):
            remote.remove(made.record)
        assert remote.everything() == [Stored(made.name, later.record)]
        remote.remove(later.record)
        remote.remove(later.record)
        assert remote.everything() == []
