"""Everything of ours goes from a node, and nothing of others does."""

import json
import socket
import tempfile
import threading
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TypeVar

import pytest

from build import NODE1, pod, policy, space
from inside import run_inside
from labs import nft_here
from programs import local_node
from vallum import dataplane
from vallum.agent.remove import remove
from vallum.agent.settings import Cni
from vallum.cni import attached, chain, conflist
from vallum.cni.conflist import Places
from vallum.cni.service import Doors
from vallum.kernel import netns
from vallum.kernel.gate import Gate
from vallum.kernel.rtnetlink import Rtnetlink
from vallum.kernel.sync import sync
from vallum.model.attachment import PodAttachment
from vallum.model.errors import InputError
from vallum.model.snapshot import snapshot_of
from vallum.model.wiring import Origin, Route, Vxlan, Wiring
from vallum.policy.classify import classify
from vallum.policy.compile import compile_node

pytestmark = pytest.mark.packets
Result = TypeVar("Result")
MASK = 0xFFFF0000
WEB = pod("a/web", "10.44.1.7")
OTHERS = "table inet others { chain c { counter; }; }"
THEIRS = Route(ip_network("10.99.0.0/16"), None, "lo")


class Bench:
    """A node with everything that an agent can leave, and things of others beside."""

    def __init__(self, folder: Path) -> None:
        self.cni = Cni(folder / "cni.sock", folder / "net.d", folder / "bin", folder / "state")
        self.socket = folder / "agent.sock"
        self.places = Places(self.cni.conf_dir, self.cni.bin_dir)

    def furnish(self) -> None:
        for path in (self.cni.conf_dir, self.cni.bin_dir, self.cni.state_dir / "queue"):
            path.mkdir(parents=True)
        (self.cni.conf_dir / "10-other.conflist").write_text(json.dumps({"name": "o", "plugins": [{"type": "bridge"}]}))
        (self.cni.state_dir / "addresses.json").write_text("{}")
        (shim := self.cni.bin_dir / "shim").write_bytes(b"shim")
        doors = Doors(self.cni.socket, self.cni.state_dir / "queue")
        conflist.install(self.places, shim, doors)
        chain.install(self.places, shim, doors, "10-other.conflist")
        nft_here(script=OTHERS)
        ruleset = compile_node(snapshot_of((NODE1, space("a"), WEB, policy("a/p", ingress=[]))), "node1")
        for plane in dataplane.load("nftables"):
            made = plane(MASK)
            made.apply(made.render(ruleset, classify(ruleset), local_node(ruleset, bridged=True)))
        with Rtnetlink() as host:
            host.set_link("lo", up=True)
            self._attach(host)
            host.add_route(THEIRS)
        device = Vxlan("vallum.vxlan4", 86, 8472, "02:00:00:00:00:03", 1450, ip_address("127.0.0.1"))
        origin = Origin(device.name, ip_address("172.20.0.12"), ip_network("10.44.2.0/24"))
        routes = frozenset({Route(ip_network("10.44.2.0/24"), None, "lo")})
        wiring = Wiring(routes, devices=frozenset({device}), origins=frozenset({origin}))
        Gate().apply(wiring)
        assert sync(wiring).problems == ()

    def _attach(self, host: Rtnetlink) -> None:
        netns.create("vallum-pod")
        name = attached.interface_name("c1", "eth0")
        mac, peer_mac = attached.macs(name)
        peer = netns.open_namespace("vallum-pod")
        host.add_veth(name, "eth0", peer_namespace=peer, mac=mac, peer_mac=peer_mac, mtu=1500)
        host.add_route(Route(ip_network("10.44.1.7/32"), None, name))
        attachment = PodAttachment(WEB.id, "u", "c1", "eth0", name, (ip_address("10.44.1.7"),))
        host.set_link(name, alias=attached.alias_of(attachment))
        netns.create("vallum-other")
        other = netns.open_namespace("vallum-other")
        host.add_veth(
            "vpother", "eth0", peer_namespace=other, mac="02:00:00:00:00:01", peer_mac="02:00:00:00:00:02", mtu=1500
        )

    def remove(self, *, force: bool = True) -> list[str]:
        return list(remove(self.cni, self.socket, MASK, force=force))

    def left(self) -> dict[str, object]:
        with Rtnetlink() as host:
            return {
                "tables": nft_here("list", "tables").split("\n")[:-1],
                "links": sorted(link.name for link in host.links()),
                "routes": sorted(str(held.route.destination) for held in host.routes() if held.protocol != 2),
                "files": sorted(path.name for path in self.cni.conf_dir.parent.rglob("*") if path.is_file()),
            }


def on_a_node(piece: Callable[[Bench], Result]) -> Result:
    """What `piece` finds on a furnished node, in a sandbox."""

    def inside() -> Result:
        with tempfile.TemporaryDirectory() as name:
            bench = Bench(Path(name))
            bench.furnish()
            return piece(bench)

    return run_inside(inside)


def test_everything_of_ours_goes_and_nothing_of_others_does():
    told, left, again = on_a_node(lambda bench: (bench.remove(), bench.left(), bench.remove()))
    assert left == {
        "tables": ["table inet others"],
        "links": ["lo", "vpother"],
        "routes": ["10.99.0.0/16"],
        "files": ["10-other.conflist", "shim"],
    }
    assert len(told) >= 6
    assert "device vallum.vxlan4, 1 routes, the gate of tunnels" in told
    assert again == []


def test_a_node_whose_pods_have_their_network_from_us_is_left_alone_unless_forced():
    def piece(bench: Bench) -> tuple[str, bool]:
        before = bench.left()
        with pytest.raises(InputError) as caught:
            bench.remove(force=False)
        return str(caught.value), bench.left() == before

    said, same = on_a_node(piece)
    assert "a/web" in said
    assert "drain" in said
    assert same


def test_a_node_whose_agent_lives_is_left_alone():
    def piece(bench: Bench) -> tuple[str, bool]:
        before = bench.left()
        with socket.socket(socket.AF_UNIX) as agent:
            agent.bind(str(bench.socket))
            agent.listen()

            def answer() -> None:
                caller, _ = agent.accept()
                with caller:
                    caller.recv(100)
                    caller.sendall(b"{}\n")

            thread = threading.Thread(target=answer)
            thread.start()
            with pytest.raises(InputError) as caught:
                bench.remove()
            thread.join()
        bench.socket.unlink()
        return str(caught.value), bench.left() == before

    said, same = on_a_node(piece)
    assert "an agent runs here" in said
    assert same


def test_a_step_that_fails_leaves_the_others_and_is_named():
    def piece(bench: Bench) -> tuple[str, dict[str, object]]:
        (bench.cni.bin_dir / "vallum").unlink()
        (bench.cni.bin_dir / "vallum").mkdir()
        with pytest.raises(Exception, match="run it again") as caught:
            bench.remove()
        return str(caught.value), bench.left()

    said, left = on_a_node(piece)
    assert "directory" in said
    assert left["tables"] == ["table inet others"]
    assert left["routes"] == ["10.99.0.0/16"]
