"""A host's own blocks without the API, new ones through it, and what becomes of both when somebody fails."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ipam.layouts import RACKS, layout, network, split
from ipam.store_contract import lay
from kubeipam import Life, Server, server
from vallum.ipam import ExhaustedError, own, romana
from vallum.ipam.choose import REST
from vallum.ipam.records import Group, Record
from vallum.ipam.topology import Layout
from vallum.ipam.verify import verify
from vallum.model.errors import InputError
from vallum.sources.kube.ipam_bridge import Remote
from vallum.sources.kube.ipam_forms import Stored, Thing, stored
from vallum.sources.kube.ipam_store import KubeStore
from vallum.sources.kube.wire import Meta

SMALL = layout([network("n", "10.0.0.0/27", 30)])
"""Eight blocks of four."""
Begin = Callable[..., Life]


class Site:
    """A fake API with a layout in it, and nodes that come, die and come again with what they have on disk."""

    def __init__(self, api: Server, folder: Path, open_: ExitStack) -> None:
        self.api, self.folder, self._open = api, folder, open_
        self.clock = [1000.0]
        self.uses: dict[str, dict[str, str]] = {}
        self.shared = KubeStore(self.remote(), sleep=lambda _: None)

    def remote(self) -> Remote:
        return self._open.enter_context(self.api.remote())

    def lay(self, of: Layout) -> None:
        lay(self.shared, of)

    def life(self, host: str) -> Life:
        uses = self.uses.setdefault(host, {})
        return Life(self.remote(), self.folder / host / "ledger", host, uses, self.clock)

    def node(self, host: str, **marks: str) -> Life:
        return self.life(host).begin(**marks)

    def requests(self) -> int:
        return self.api.do(lambda: len(self.api.api.requests))

    def cut(self) -> None:
        """The API is gone: what was open is closed and nothing answers."""
        self.api.do(lambda: self.api.api._server and self.api.api._server.close())
        self.api.do(self.api.api.cut)

    def twice(self) -> list[str]:
        """Addresses that two pods use."""
        every = [address for uses in self.uses.values() for text in uses.values() for address in text.split()]
        return sorted({each for each in every if every.count(each) > 1})

    def blocks(self) -> dict[str, Any]:
        return {name: spec.get("host") for name, spec in self.api.specs("blocks").items()}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with server() as api, ExitStack() as open_:
        yield Site(api, tmp_path, open_)


def test_own_blocks_are_given_from_without_the_api(site: Site) -> None:
    site.lay(SMALL)
    one = site.node("h")
    assert one.add("a") == "10.0.0.0"
    before = site.requests()
    assert [one.add(name) for name in "bcd"] == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    one.delete("b")
    assert site.requests() == before
    site.cut()
    site.clock[0] += REST
    assert one.add("e") == "10.0.0.1"


def test_without_the_api_a_new_block_waits_and_the_error_names_it(site: Site) -> None:
    site.lay(SMALL)
    one = site.node("h")
    for name in "abcd":
        one.add(name)
    site.cut()
    with pytest.raises(ExhaustedError, match=f"needs the Kubernetes API: {site.api.api.url}"):
        one.add("e")
    assert "e" not in one.uses


def test_two_hosts_never_claim_one_block_though_neither_has_heard_of_the_other(site: Site) -> None:
    site.lay(SMALL)
    one, other = site.node("h"), site.node("i")
    given = [each.add(f"{each.host}{number}") for number in range(16) for each in (one, other)]
    assert len(set(given)) == 32
    assert sorted(site.blocks().values()) == ["h"] * 4 + ["i"] * 4
    with pytest.raises(ExhaustedError, match="no address is left"):
        one.add("late")
    assert not verify(site.shared.state())


def test_what_is_in_use_is_published_later_and_read_by_everybody(site: Site) -> None:
    site.lay(SMALL)
    one = site.node("h")
    one.add("a")
    one.add("b")
    assert site.shared.state().held("h", "b") == ()
    assert one.keep() == ["+ Block 10.0.0.0-30"]
    assert len(site.shared.state().held("h", "b")) == 1
    assert one.keep() == [], "nothing new, nothing written"


def test_a_killed_agent_comes_back_to_what_it_gave(site: Site) -> None:
    site.lay(SMALL)
    one = site.node("h")
    for name in "abc":
        one.add(name)
    del one.uses["c"]  # the link was not made yet
    again = site.node("h")
    assert [again.add(name) for name in "def"] == ["10.0.0.3", "10.0.0.4", "10.0.0.5"], "10.0.0.2 rests"
    assert site.twice() == []


def test_a_lost_ledger_is_made_anew_from_what_the_kernel_says(site: Site) -> None:
    site.lay(SMALL)
    one = site.node("h")
    for name in "abcde":
        one.add(name)
    shutil.rmtree(site.folder / "h")
    again = site.node("h")
    assert not site.twice()
    assert {again.add(name) for name in "fgh"} == {"10.0.0.5", "10.0.0.6", "10.0.0.7"}
    again.keep()
    assert sorted(site.blocks()) == ["10.0.0.0-30", "10.0.0.4-30"]


def test_nothing_is_given_before_the_api_was_read(site: Site) -> None:
    site.lay(SMALL)
    site.node("h").add("a")
    again = site.life("h")
    again.look()
    with pytest.raises(ExhaustedError, match="was not read"):
        again.add("b")
    again.news()
    with pytest.raises(ExhaustedError, match="was not read"):
        again.add("b")
    assert again.keep() == []
    again.look()
    assert again.add("b") == "10.0.0.1"


def test_an_old_backup_of_the_ledger_gives_out_nothing_that_is_in_use(site: Site) -> None:
    site.lay(SMALL)
    one = site.node("h")
    one.add("a")
    shutil.copytree(site.folder / "h", site.folder / "backup")
    for name in "bcde":
        one.add(name)
    for name in "abcd":
        one.delete(name)
    site.clock[0] += REST
    assert one.keep(publish=False) == ["- Block 10.0.0.0-30"]
    other = site.node("i")
    assert other.add("x") == "10.0.0.0"
    shutil.rmtree(site.folder / "h")
    shutil.move(site.folder / "backup", site.folder / "h")
    again = site.node("h")
    given = [again.add(f"n{number}") for number in range(10)]
    assert not set(given) & {"10.0.0.0", "10.0.0.4"}
    assert site.twice() == []
    again.keep()
    other.keep()
    assert not verify(site.shared.state())


def test_an_empty_block_goes_back_when_it_has_rested_and_another_host_takes_it(site: Site) -> None:
    site.lay(layout([network("n", "10.0.0.0/30", 30)]))
    one, other = site.node("h"), site.node("i")
    one.add("a")
    one.delete("a")
    assert one.keep(publish=False) == []
    site.clock[0] += REST
    assert one.keep(publish=False) == ["- Block 10.0.0.0-30"]
    assert site.blocks() == {}
    other.news()
    assert other.add("b") == "10.0.0.0"


def test_a_block_that_is_just_going_back_is_kept_by_a_write_before_it_is_used_again(site: Site) -> None:
    site.lay(SMALL)
    one = site.node("h")
    one.add("a")
    one.delete("a")
    site.clock[0] += REST
    (job,) = one.store.due(publish=False)
    one.news()  # which still has it as ours
    assert one.add("b") == "10.0.0.0"
    late = site.remote()
    with pytest.raises(Exception, match="by somebody else"):
        late.remove(job.record)
    assert site.blocks() == {"10.0.0.0-30": "h"}


def test_a_block_that_went_back_in_the_last_moment_is_claimed_anew(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.lay(SMALL)
    one = site.node("h")
    one.add("a")
    one.delete("a")
    site.clock[0] += REST
    (job,) = one.store.due(publish=False)
    late, put, tries = site.remote(), one.remote.put, []

    def slow(record: Record, name: str = "") -> Stored:
        tries.append(record.revision)
        if len(tries) == 2:
            late.remove(job.record)
        return put(record, name)

    monkeypatch.setattr(one.remote, "put", slow)
    assert one.add("b") == "10.0.0.0"
    assert tries == [0, job.record.revision, 0], "made, but it is there; written, but it is gone; made"
    assert site.blocks() == {"10.0.0.0-30": "h"}


def test_a_deleted_node_gives_its_blocks_back_and_they_rest_for_those_who_saw_them_in_use(site: Site) -> None:
    site.lay(layout([network("n", "10.0.0.0/29", 30)]))
    one, other = site.node("h"), site.node("i")
    one.add("a")
    one.keep()
    other.add("x")
    other.news()
    site.api.do(lambda: site.api.api.delete("/apis/vallum.dev/v1alpha1/blocks", "10.0.0.0-30"))
    site.api.do(lambda: site.api.api.delete("/apis/vallum.dev/v1alpha1/hosts", "h"))
    site.uses.pop("h")
    other.news()
    assert "h" not in other.store.state().hosts
    given = [other.add(f"p{number}") for number in range(7)]
    assert given[-1] == "10.0.0.0", "the one that was in use comes last"
    assert site.twice() == []


def test_a_node_that_lives_on_without_its_objects_claims_again_what_its_pods_use(site: Site) -> None:
    site.lay(SMALL)
    one = site.node("h")
    one.add("a")
    one.news()
    place = one.store.state().hosts["h"].places
    for plural, name in (("blocks", "10.0.0.0-30"), ("hosts", "h")):
        site.api.do(lambda plural=plural, name=name: site.api.api.delete(f"/apis/vallum.dev/v1alpha1/{plural}", name))
    one.news()
    assert one.keep(publish=False) == ["+ Host h", "+ Block 10.0.0.0-30"]
    assert site.blocks() == {"10.0.0.0-30": "h"}
    assert site.shared.state().hosts["h"].places == place
    assert one.add("b") == "10.0.0.1"


def test_what_its_pods_use_of_a_block_that_is_anothers_by_now_is_given_to_nobody(site: Site) -> None:
    site.lay(layout([network("n", "10.0.0.0/30", 30)]))
    one, other = site.node("h"), site.node("i")
    one.add("a")
    site.api.do(lambda: site.api.api.delete("/apis/vallum.dev/v1alpha1/blocks", "10.0.0.0-30"))
    one.remote.away = "it is away"  # it hears of nothing
    assert other.add("x", "10.0.0.3") == "10.0.0.3"
    one.remote.away = ""
    one.news()
    assert one.keep() == ["+ Stray 10.0.0.0.h"]
    other.news()
    assert sorted(other.add(name) for name in "yz") == ["10.0.0.1", "10.0.0.2"]
    with pytest.raises(ExhaustedError):
        other.add("more")
    one.delete("a")
    assert one.keep() == ["- Stray 10.0.0.0.h"]
    other.news()
    assert other.add("more") == "10.0.0.0"


def test_a_host_keeps_its_place_and_its_prefix_through_every_life(site: Site) -> None:
    group = Group(name="all", host_prefix=28)
    site.lay(layout([network("n", "10.0.0.0/24", 30)], split("n", ["n"], group)))
    before = [site.node(name).store.state().hosts[name].places[0].prefix for name in ("h", "i", "j")]
    assert sorted(map(str, before)) == ["10.0.0.0/28", "10.0.0.16/28", "10.0.0.32/28"]
    shutil.rmtree(site.folder / "i")
    assert site.node("i").store.state().hosts["i"].places[0].prefix == before[1]


def test_of_two_hosts_that_join_at_one_moment_the_second_takes_another_prefix(site: Site) -> None:
    group = Group(name="all", host_prefix=28)
    site.lay(layout([network("n", "10.0.0.0/24", 30)], split("n", ["n"], group)))
    one, other = site.life("h"), site.life("i")
    for each in (one, other):
        each.news()
        each.look()
    one.pools.join((), ())
    other.pools.join((), ())
    found = {host.places[0].prefix for host in site.shared.state().hosts.values()}
    assert sorted(map(str, found)) == ["10.0.0.0/28", "10.0.0.16/28"]


def test_labels_choose_the_group(site: Site) -> None:
    site.lay(romana.read(RACKS))
    assert site.node("h", rack="b").add("a") == "172.28.16.0"
    assert site.node("i", rack="c").add("a") == "172.28.32.0"


def put(site: Site, *documents: dict[str, Any]) -> None:
    plural = {"Network": "networks", "Topology": "topologies", "Blackout": "blackouts"}
    for each in documents:
        site.api.do(lambda each=each: site.api.api.put(f"/apis/vallum.dev/v1alpha1/{plural[each['kind']]}", each))


def racks(*groups: dict[str, Any]) -> list[dict[str, Any]]:
    made = [{"name": "n", "cidr": "10.0.0.0/24"}]
    map_ = [{"assignment": {"rack": each}} if isinstance(each, str) else each for each in groups]
    return [
        *({"kind": "Network", "metadata": {"name": each["name"]}, "spec": {"cidr": each["cidr"]}} for each in made),
        {"kind": "Topology", "metadata": {"name": "t"}, "spec": {"networks": ["n"], "map": map_}},
    ]


SPARE = {"spare": True}


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        (["b", "c"], "stranded"),
        (["b", "a", "c"], "keep their places: rack=a, rack=b, rack=c"),
        (["a", "b", "c", "d", "e"], "needs a slot"),
        (["a", {"name": "x", "groups": [{}], "hosts": [{"name": "h", "address": "1.2.3.4"}]}], "side by side"),
    ],
)
def test_a_layout_that_cannot_be_is_refused_and_the_last_good_one_stays(
    site: Site, groups: list[Any], said: str
) -> None:
    put(site, *racks("a", "b", "c"))
    one = site.node("h", rack="a")
    one.add("a")
    one.keep()
    before = own.write(one.store.state())
    put(site, *racks(*groups))
    one.news()
    assert said in one.store.problem
    assert own.write(one.store.state()) == before
    again = site.node("h", rack="a")
    assert said in again.store.problem
    assert again.add("b") == "10.0.0.1"
    put(site, *racks("a", "b", "c", "d"))
    again.news()
    assert again.store.problem == ""
    assert site.node("i", rack="d").add("b") == "10.0.0.192"


def test_a_new_agent_takes_no_layout_that_does_not_fit_what_is_in_use(site: Site) -> None:
    put(site, *racks("a", "b", "c"))
    one = site.node("h", rack="c")
    one.add("a")
    one.keep()
    put(site, {"kind": "Network", "metadata": {"name": "n"}, "spec": {"cidr": "10.0.0.0/24", "blockMask": 28}})
    fresh = site.life("i")
    fresh.news()
    assert "Block 10.0.0.128/29: is in use and" in fresh.store.problem
    with pytest.raises(ExhaustedError):
        fresh.add("b")


def test_a_host_that_a_new_layout_moves_writes_its_new_place(site: Site) -> None:
    put(site, *racks("a", "b", {}))
    one = site.node("h")
    assert one.store.state().region(one.store.state().hosts["h"].places[0]).prefixlen == 26
    put(site, *racks("a", "b", SPARE, {"name": "open"}))
    one.news()
    assert one.store.problem == ""
    with pytest.raises(ExhaustedError):
        one.add("early")
    assert one.keep() == ["+ Host h"]
    assert one.add("a") == "10.0.0.192"


def test_a_block_under_another_name_is_refused_since_there_could_be_two() -> None:
    block = {"network": "n", "cidr": "10.0.0.0/30", "host": "x"}
    with pytest.raises(InputError, match=r"must be named 10\.0\.0\.0-30"):
        stored("Block", Thing(Meta("mine", version="3"), block))
    assert stored("Block", Thing(Meta("10.0.0.0-30", version="3"), block)).record.revision == 3
