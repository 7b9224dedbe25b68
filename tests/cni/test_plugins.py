"""Beside other plugins: the reference plugins work behind ours, and ours protects what another one wired."""

import asyncio
import json
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cniruntime import DOORS, Node, Printed, make_pod, node_state, on_node, run_plugin
from inside import run_inside
from vallum.cni.conflist import Places, install
from vallum.kernel import netns
from vallum.kernel.forwarding import ensure

pytestmark = pytest.mark.packets

REFERENCE = Path("/usr/lib/cni")
PORTS = [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]
RUNTIME = {"portMappings": PORTS, "bandwidth": {"ingressRate": 8_000_000, "ingressBurst": 8_000_000}}


def need(*plugins: str) -> None:
    """Skip, naming what is missing, where the reference plugins or what they use are not to be had."""
    missing = [name for name in plugins if not (REFERENCE / name).exists()]
    if missing:
        pytest.skip(f"{', '.join(missing)} not in {REFERENCE}; apt-get install containernetworking-plugins")
    if "portmap" in plugins and (shutil.which("iptables") is None or not run_inside(iptables_work)):
        pytest.skip("portmap needs iptables with nat in private namespaces; apt-get install iptables")
    if "bandwidth" in plugins and not run_inside(shaping_works):
        pytest.skip("this kernel has no ifb links or no token bucket (tbf), which bandwidth needs")


def iptables_work() -> bool:
    """Reports whether there is a nat table here."""
    return all(
        subprocess.run([name, "-w", "-t", "nat", "-L", "-n"], capture_output=True, check=False).returncode == 0
        for name in ("iptables", "ip6tables")
    )


def shaping_works() -> bool:
    """Reports whether links can be slowed down here."""
    commands = ("ip link add probe type ifb", "tc qdisc add dev probe root tbf rate 1mbit burst 10k latency 25ms")
    return all(subprocess.run(each.split(), capture_output=True, check=False).returncode == 0 for each in commands)


class Chain:
    """Runs the plugins of a conflist as libcni does; they lie in one folder."""

    def __init__(self, conflist: dict[str, Any], folder: Path) -> None:
        self.conflist, self.folder = conflist, folder

    async def run(self, command: str, previous: Any = None) -> Printed:
        """Every plugin in order, for DEL in the other; the first error ends it."""
        plugins = self.conflist["plugins"]
        last = Printed(0, None)
        for plugin in reversed(plugins) if command == "DEL" else plugins:
            if command == "CHECK" and plugin["type"] == "portmap":
                continue  # 1.1.1 looks for the rules of each family in both tables, so it never passes
            config = {key: self.conflist[key] for key in ("cniVersion", "name")} | plugin
            config["runtimeConfig"] = {key: RUNTIME[key] for key in plugin.get("capabilities", {}) if key in RUNTIME}
            if previous is not None:
                config["prevResult"] = previous
            last = await run_plugin(self.folder / plugin["type"], self.environment(command), json.dumps(config))
            if last.status:
                return last
            previous = last.text if command == "ADD" else previous
        return last

    def environment(self, command: str) -> dict[str, str | None]:
        """Of pod shop/web."""
        return {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": "c1",
            "CNI_IFNAME": "eth0",
            "CNI_NETNS": "/run/netns/web",
            "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web",
            "CNI_PATH": str(self.folder),
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        }


def queues() -> str:
    """How the links here are slowed down."""
    return subprocess.run(["tc", "qdisc"], capture_output=True, text=True, check=True).stdout


def text_of(path: Path) -> str:
    """What stands in a file."""
    return path.read_text()


def folder_of(*plugins: str) -> Path:
    """A folder with reference plugins."""
    folder = Path("/run/plugins")
    folder.mkdir()
    for name in plugins:
        (folder / name).symlink_to(REFERENCE / name)
    return folder


async def served_at(address: str, port: int, pod: str, own_port: int) -> bytes:
    """What a server in the pod is heard saying at an address and port of the node."""

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()

    with netns.entered(pod):
        listening = socket.create_server(("0.0.0.0", own_port))
    server = await asyncio.start_server(greet, sock=listening)
    reader, writer = await asyncio.wait_for(asyncio.open_connection(address, port), 10)
    heard = await reader.read()
    writer.close()
    server.close()
    return heard


def test_portmap_and_bandwidth_work_behind_ours() -> None:
    need("portmap", "bandwidth")

    async def piece(node: Node) -> Any:
        folder = folder_of("portmap", "bandwidth")
        install(Places(Path("/run/conf"), folder), node.plugin, DOORS)
        chain = Chain(json.loads(text_of(Path("/run/conf/10-vallum.conflist"))), folder)
        make_pod()
        ensure(4)
        before = node_state()[0]
        add = await chain.run("ADD")
        heard = await served_at("172.20.0.11", 8080, "web", 80)
        shaped = queues()
        later = [await chain.run(command, add.text) for command in ("CHECK", "DEL", "DEL")]
        return chain.conflist, add.text, heard, "tbf" in shaped, later, before == node_state()[0]

    conflist, added, heard, shaped, later, same = on_node(piece)
    assert [plugin["type"] for plugin in conflist["plugins"]] == ["vallum", "portmap", "bandwidth"]
    assert [each["address"] for each in added["ips"]] == ["10.244.1.2/32", "fd10:244:1::2/128"]
    assert (heard, shaped) == (b"hello", True)
    assert later == [Printed(0, None)] * 3
    assert same


def test_ours_behind_the_bridge_plugin_protects_its_link_and_takes_nothing_away() -> None:
    need("bridge", "host-local")

    async def piece(node: Node) -> Any:
        folder = folder_of("bridge", "host-local")
        (folder / "vallum").symlink_to(node.plugin)
        ipam = {"type": "host-local", "dataDir": "/run/ipam", "ranges": [[{"subnet": "10.99.0.0/24"}]]}
        first = {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipam": ipam}
        ours = {key: node.config[key] for key in ("type", "socket", "queueDir")}
        chain = Chain({"cniVersion": "1.0.0", "name": "other", "plugins": [first, ours]}, folder)
        make_pod()
        add = await chain.run("ADD")
        check = await chain.run("CHECK", add.text)
        links = node_state()[0]
        later = [await chain.run("DEL", add.text), await node.call("DEL", prevResult=add.text)]
        return add.text, [check, *later], links, node.guard.protected, node.guard.released, node_state()[0]

    added, later, links, protected, released, left = on_node(piece)
    assert added["ips"][0]["address"] == "10.99.0.2/24"
    (attachment,) = protected
    assert attachment.interface in links
    assert attachment.interface.startswith("veth")
    assert [str(address) for address in attachment.addresses] == ["10.99.0.2"]
    assert later == [Printed(0, None)] * 3
    assert {(each.container, each.ifname) for each in released} == {("c1", "eth0")}
    assert attachment.interface not in left
    assert "cni0" in left
