"""Nodes change hands: ours are given to the reference bridge plugin, are guarded beside it, and come back to us.

Removal leaves nothing, so the next plugin's pods are open as if we had never been there. Then our agents guard pods
that the bridge wires, found from the API or as a plugin behind the bridge, and wire none themselves.
"""

import sys
from collections.abc import Iterator

import pytest

from kube import steps, wirings
from kube.steps import flow, hold, pods_with, policy, reached, targets
from kube.wirings import BRIDGE, MODES, REFERENCE
from traffic import Traffic
from vallum.cni.attached import read as read_attached
from vallum.cni.conflist import NAME
from vallum.kernel.rtnetlink import Rtnetlink
from vallum.lab.kube import agents, pods, wiring
from vallum.lab.kube.client import Manifest
from vallum.lab.kube.cluster import KubeCluster, Ran
from vallum.lab.kube.layout import NodeLayout

SPACE = "beside"
SERVES = ("TCP/80", "UDP/80")
BOTH = ("TCP", "UDP")
LEAST = 500

Crowd = dict[str, Manifest]


def uninstall(kube: KubeCluster, place: NodeLayout, *more: str) -> Ran:
    folder = place.folder / "vallum"
    flags = {
        "socket": agents.socket_of(place),
        "cni-socket": folder / "cni.sock",
        "cni-conf-dir": place.cni_config,
        "cni-bin-dir": place.cni_plugins,
        "state-dir": folder / "state",
    }
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    return kube.run_on(place.name, [sys.executable, "-m", "vallum", "uninstall", "--node", *words, *more])


def left(kube: KubeCluster, place: NodeLayout) -> list[str]:
    """What of ours is still on a node."""
    folder = place.folder / "vallum"
    files = [place.cni_config / NAME, place.cni_plugins / "vallum", folder / "cni.sock", folder / "state"]
    files += [agents.socket_of(place), *place.cni_config.glob("*vallum*")]
    found = [str(file) for file in files if file.exists()]
    for words in (["nft", "list", "tables"], ["iptables-save"], ["ip", "link"], ["ip", "rule"]):
        found += [line for line in kube.run_on(place.name, words).out.splitlines() if "vallum" in line]
    for family in ("-4", "-6"):
        found += kube.run_on(place.name, ["ip", family, "route", "show", "proto", "86"]).out.splitlines()
    with kube.on(place.name), Rtnetlink() as host:
        standing = read_attached(host)
    return found + [str(each) for each in (*standing.complete, *standing.half_made)]


@pytest.fixture(scope="module")
def given_away(kube: KubeCluster) -> Iterator[tuple[str, ...]]:
    """Every node, by name, belongs to the bridge plugin; no agent of ours runs. In the end all is ours again."""
    usual = dict(kube.agents)
    for place in kube.layouts:
        kube.agents[place.name].stop()
        removed = uninstall(kube, place, "--force")
        assert removed.code == 0, removed.err
        wiring.configure_reference(place)
    wiring.route_between(kube.layouts)
    try:
        yield tuple(usual)
    finally:
        for place in kube.layouts:
            kube.agents[place.name].kill()
            agents.socket_of(place).unlink(missing_ok=True)
            uninstall(kube, place, "--force")
            (place.cni_config / REFERENCE).unlink()
            take_back(kube, place)
        kube.agents |= usual
        for name, agent in usual.items():
            agent.start()
            steps.healthy(kube, name)
        steps.until(kube.nodes_ready, steps.PATIENCE, lambda: "the nodes are not Ready again")


def take_back(kube: KubeCluster, place: NodeLayout) -> None:
    """What the bridge plugin and the cluster's wiring leave on a node."""
    kube.run_on(place.name, ["ip", "link", "delete", BRIDGE])
    for other in kube.layouts:
        if other is not place:
            for network in other.pod_ranges:
                kube.run_on(place.name, ["ip", f"-{network.version}", "route", "delete", str(network)])


@pytest.fixture(scope="module")
def crowd(kube: KubeCluster, given_away: tuple[str, ...]) -> Iterator[Crowd]:
    """A server, a friend and a stranger on each node, wired by the bridge plugin; a policy lets in friends."""
    assert given_away
    with steps.namespace(kube, SPACE):
        kube.api.apply([policy("guard", SPACE, {"role": "server"}, [{"from": [pods_with(role="friend")]}])])
        made = [
            pods.pod(f"{role}{n}", SERVES, space=SPACE, node=f"node{n}", labels={"role": role})
            for role in ("server", "friend", "stranger")
            for n in (1, 2)
        ]
        kube.api.apply(made)
        yield {each["metadata"]["name"]: each for each in kube.wait_ready(made)}


def addressed(*servers: Manifest) -> list[steps.Target]:
    return [target for each in servers for one in steps.addresses(each) for target in targets(one, 80, *BOTH)]


def test_a_node_with_pods_of_ours_is_not_left_without_force_and_not_under_a_living_agent(kube: KubeCluster) -> None:
    place = kube.layouts[0]
    with steps.namespace(kube, "staying") as space:
        made = [pods.pod("staying", SERVES, space=space, node=place.name)]
        kube.api.apply(made)
        kube.wait_ready(made)
        refused = uninstall(kube, place, "--force")
        assert (refused.code, "an agent runs here" in refused.err) == (2, True), refused
        agent = kube.agents[place.name]
        agent.stop()
        try:
            refused = uninstall(kube, place)
            assert (refused.code, "staying/staying" in refused.err) == (2, True), refused
            assert left(kube, place)
        finally:
            agent.start()
            steps.healthy(kube, place.name)


@pytest.mark.usefixtures("given_away")
def test_removal_leaves_nothing_on_a_node(kube: KubeCluster) -> None:
    assert {place.name: left(kube, place) for place in kube.layouts} == {"node1": [], "node2": []}


def test_the_bridge_plugin_takes_over_and_nothing_of_ours_closes_its_pods(kube: KubeCluster, crowd: Crowd) -> None:
    assert BRIDGE in kube.run_on("node1", ["ip", "-brief", "link"]).out
    wanted = addressed(crowd["server1"], crowd["server2"])
    for name in ("friend1", "stranger1", "stranger2"):
        steps.eventually_reached(kube, crowd[name], wanted)


@pytest.fixture(params=MODES)
def guarded(kube: KubeCluster, crowd: Crowd, request: pytest.FixtureRequest) -> Iterator[str]:
    """Our agents run beside the bridge plugin in this mode."""
    assert crowd
    usual = dict(kube.agents)
    for name, agent in usual.items():
        kube.agents[name] = wirings.beside(agent, request.param)
        kube.agents[name].start()
    try:
        for name in usual:
            steps.healthy(kube, name)
        steps.held(kube)
        yield str(request.param)
    finally:
        for place in kube.layouts:
            kube.agents[place.name].stop()
            removed = uninstall(kube, place)
            assert removed.code == 0, removed.err
            assert left(kube, place) == []
        kube.agents |= usual


def test_pods_of_the_bridge_obey_policies_on_a_node_and_across(kube: KubeCluster, crowd: Crowd, guarded: str) -> None:
    assert guarded
    wanted = addressed(crowd["server1"], crowd["server2"])
    ends = {"denied": ("stranger1", "server1"), "far denied": ("stranger2", "server1"), "near": ("friend1", "server1")}
    for name in ("friend1", "friend2"):
        steps.eventually_reached(kube, crowd[name], wanted)
    for name in ("stranger1", "stranger2"):
        assert not any(reached(kube, crowd[name], wanted))
    flows = [
        flow(name, "udp", (crowd[one], crowd[two]), 5000 + at) for at, (name, (one, two)) in enumerate(ends.items())
    ]
    with Traffic(flows) as traffic:
        hold(kube, policy("more", SPACE, {"role": "server"}, [{"from": [pods_with(role="nobody")]}]))
        for node, agent in kube.agents.items():
            agent.kill()
            agent.start()
            steps.healthy(kube, node)
        assert steps.wrong(traffic.stop(), LEAST) == []


def test_a_pod_that_the_bridge_wires_later_is_guarded_as_well(kube: KubeCluster, crowd: Crowd, guarded: str) -> None:
    with steps.namespace(kube, "later") as space:
        kube.api.apply([policy("nothing", space, ingress=[])])
        probe = {"readinessProbe": {"tcpSocket": {"port": 80}, "periodSeconds": 1}}
        made = [pods.pod(f"later{n}", SERVES, space=space, node=f"node{n}", container=probe) for n in (1, 2)]
        kube.api.apply(made)
        ready = kube.wait_ready(made)
        for name in ("friend1", "stranger2"):
            assert not any(reached(kube, crowd[name], addressed(*ready))), guarded
        assert wirings.chained(kube.layouts[0]) == (guarded == "chained")


def test_the_next_plugin_is_left_alone_when_we_go(kube: KubeCluster, crowd: Crowd) -> None:
    for place in kube.layouts:
        assert (place.cni_config / REFERENCE).exists()
        assert left(kube, place) == []
    steps.eventually_reached(kube, crowd["stranger1"], addressed(crowd["server2"]))
