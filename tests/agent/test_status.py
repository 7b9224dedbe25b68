"""What the agent says of itself."""

from dataclasses import replace
from datetime import datetime
from ipaddress import ip_network
from pathlib import Path

from build import NODE1, pod, policy
from vallum.agent.reconcile import Moments, Report
from vallum.agent.settings import Settings, Travel
from vallum.agent.status import Status
from vallum.kernel.sync import SyncReport
from vallum.model.attachment import Attachment, LocalNode
from vallum.model.objects import Pool
from vallum.model.snapshot import snapshot_of
from vallum.model.wiring import Masquerade, Wiring
from vallum.policy.compile import compile_node

POD = pod("a/x", "10.44.1.1")
LINKLESS = pod("a/y", "10.44.1.2")


def report() -> Report:
    snapshot = snapshot_of((NODE1, POD, LINKLESS, policy("a/p", ingress=[])), "seven")
    local = LocalNode("node1", (Attachment(POD.id, "veth1", ()),))
    return Report(
        snapshot, compile_node(snapshot, "node1"), local, (), SyncReport(), (), 0.00125, Moments(1.0, 1.0, 2.0, 3.0)
    )


def status() -> Status:
    return Status(Settings("node1", Path("world")))


def test_before_the_first_success_nothing_is_enforced_and_nothing_is_healthy():
    facts = status().facts(0)
    assert facts["revision"] is None
    assert facts["healthy"] is False


def test_after_a_reconcile_it_names_revision_pods_and_links():
    state = status()
    state.report = report()
    facts = state.facts(3)
    assert facts["revision"] == "seven"
    assert facts["pods"] == {"a/x": "veth1", "a/y": None}
    assert facts["policies"] == 1
    assert facts["milliseconds"] == 1.25
    assert facts["drops"] == 3
    assert facts["healthy"] is True


def test_it_tells_by_pool_how_packets_travel_and_the_mtu_of_new_pods():
    state = Status(Settings("node1", Path("world"), backend="vxlan", travel=Travel("cross-subnet", masquerade=True)))
    pools = {"blue": Pool("blue", ip_network("10.44.0.0/16"), backend="hostgw", masquerade=False, mtu=1400)}
    made = report()
    wiring = Wiring(mtu=1400, masquerade=Masquerade((ip_network("10.9.0.0/24"),), ()))
    state.report = replace(made, snapshot=replace(made.snapshot, pools=pools), plan=wiring)
    network = state.facts(0)["network"]
    usual = {"encapsulation": "cross-subnet", "masquerade": True, "mtu": None}
    assert network["pools"] == [
        usual | {"pool": "blue", "backend": "hostgw", "masquerade": False, "mtu": 1400},
        usual | {"pool": "", "backend": "vxlan"},
    ]
    assert (network["mtu"], network["devices"], network["masqueraded"]) == (1400, [], ["10.9.0.0/24"])


def test_where_another_program_carries_packets_there_are_no_pools():
    state = Status(Settings("node1", Path("world"), backend="none"))
    state.report = report()
    assert state.facts(0)["network"]["pools"] == []


def test_a_fault_of_source_or_kernel_is_named_and_the_revision_stays():
    for field in ("source", "kernel"):
        state = status()
        state.report = report()
        getattr(state, f"{field}_is")("what is wrong")
        facts = state.facts(0)
        assert facts[field] == "what is wrong"
        assert facts["healthy"] is False
        assert facts["revision"] == "seven"
        assert datetime.fromisoformat(facts[f"{field}_since"]).utcoffset() is not None
        getattr(state, f"{field}_is")("still wrong")
        assert state.facts(0)[f"{field}_since"] == facts[f"{field}_since"]
        getattr(state, f"{field}_is")(None)
        assert state.facts(0)[f"{field}_since"] is None


def test_a_node_is_ready_when_its_kernel_holds_the_world_whatever_the_source_does_then():
    state = status()
    state.source_is("no API server answers")
    assert "no API server answers" in (state.unready() or "")
    state.report = report()
    assert state.unready() is None
    state.kernel_is("no memory")
    assert "no memory" in (state.unready() or "")


def test_repairs_name_what_who_and_how_newest_last_and_stay_bounded():
    state = status()
    for number in range(100):
        state.repair("nftables", f"nft[{number}]", "1 x deleted rule")
    facts = state.facts(0)
    assert facts["repaired"] == 100
    assert len(facts["repairs"]) < 100
    newest = facts["repairs"][-1]
    assert (newest["what"], newest["by"], newest["how"]) == ("nftables", "nft[99]", "1 x deleted rule")
    assert datetime.fromisoformat(newest["at"]).utcoffset() is not None
