"""Every verb by the real plugin, service and kernel: a runtime is told what stands, and after DEL nothing does."""

import asyncio
import socket
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest

from cniruntime import DOORS, UPLINK_MTU, Node, Printed, descriptors, make_pod, node_state, on_node, pod_links, until
from vallum.cni.attached import interface_name, macs
from vallum.cni.result import VERSIONS, CniError, Code
from vallum.ipam.ranges import NodeRanges
from vallum.kernel import netns
from vallum.kernel.netlink import RequestError
from vallum.kernel.rtnetlink import Rtnetlink
from vallum.model.errors import InputError
from vallum.model.objects import PodId
from vallum.model.wiring import Route

pytestmark = pytest.mark.packets

NAME = interface_name("c1", "eth0")
HOST_MAC, MAC = macs(NAME)
EMPTY = (("far", "lo", "uplink"), ("0.0.0.0/0 uplink", "172.20.0.0/24 uplink", "fd00:172:20::/64 uplink"))


def settled() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What stands, but for link-local routes, which come and go on their own time."""
    links, routes = node_state()
    return links, tuple(route for route in routes if not route.startswith("fe80:"))


@pytest.mark.parametrize("version", VERSIONS)
def test_add_check_and_del_in_every_version(version: str) -> None:
    async def piece(node: Node) -> tuple[list[Printed], Any, Any]:
        make_pod()
        node.config["cniVersion"] = version
        add = await node.call("ADD", dns={"nameservers": ["10.96.0.10"]})
        check = await node.call("CHECK", prevResult=add.text)
        standing = settled()
        delete = await node.call("DEL", prevResult=add.text)
        return [add, check, delete], standing, (settled(), list(pod_links()))

    (add, check, delete), standing, left = on_node(piece)
    assert (add.status, add.text["cniVersion"], add.text["dns"]) == (0, version, {"nameservers": ["10.96.0.10"]})
    assert add.addresses == ("10.244.1.2", "fd10:244:1::2")
    end = {"name": "eth0", "mac": MAC, "sandbox": "/run/netns/web"}
    assert add.text["interfaces"][1] == (end | {"mtu": UPLINK_MTU} if version == "1.1.0" else end)
    assert standing[0] == ("far", "lo", "uplink", NAME)
    assert set(standing[1]) - set(EMPTY[1]) == {f"10.244.1.2/32 {NAME}", f"fd10:244:1::2/128 {NAME}"}
    assert (check, delete) == (Printed(0, None), Printed(0, None))
    assert left == (EMPTY, ["lo"])


def test_the_pods_own_end_is_down_until_it_is_protected_and_running_when_add_returns() -> None:
    async def piece(node: Node) -> Any:
        make_pod()
        add = await node.call("ADD")
        with Rtnetlink() as host:
            outer = host.link(NAME)
        return add.status, node.guard.ends, outer, pod_links()["eth0"], node.guard.protected

    status, ends, outer, inner, protected = on_node(piece)
    assert (status, ends) == (0, [(True, False)])
    assert (outer.mac, outer.mtu, outer.running, outer.alias) == (
        HOST_MAC,
        UPLINK_MTU,
        True,
        "vallum c1 eth0 u-web shop/web",
    )
    assert (inner.mac, inner.mtu, inner.up) == (MAC, UPLINK_MTU, True)
    (attachment,) = protected
    assert (attachment.pod, attachment.uid, attachment.interface) == (PodId("shop", "web"), "u-web", NAME)
    assert attachment.addresses == (ip_address("10.244.1.2"), ip_address("fd10:244:1::2"))


def test_packets_of_both_families_pass_between_node_and_pod() -> None:
    async def piece(node: Node) -> list[bytes]:
        make_pod()
        add = await node.call("ADD")
        return [await asyncio.wait_for(talk("web", address), 10) for address in add.addresses]

    assert on_node(piece) == [b"hello", b"hello"]


def addresses_of(node: Node) -> NodeRanges:
    """What the node's service gives addresses from."""
    assert node._service is not None
    allocator = node._service._verbs._allocator
    assert isinstance(allocator, NodeRanges)
    return allocator


async def talk(pod: str, address: str) -> bytes:
    """What a client on the node hears from a server in the pod."""

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()

    with netns.entered(pod):
        listening = socket.create_server((address, 8080), family=socket.AF_INET6 if ":" in address else socket.AF_INET)
    server = await asyncio.start_server(greet, sock=listening)
    try:
        reader, writer = await asyncio.open_connection(address, 8080)
        heard = await reader.read()
        writer.close()
    finally:
        server.close()
    return heard


def test_a_pod_may_ask_for_addresses_a_mac_an_mtu_and_a_name() -> None:
    async def piece(node: Node) -> Any:
        make_pod()
        wanted = {"ips": ["10.244.1.77/24", "fd10:244:1::77"], "mac": "0A:00:00:00:00:77"}
        add = await node.call("ADD", ifname="net1", mtu=1300, runtimeConfig=wanted)
        check = await node.call("CHECK", ifname="net1", mtu=1300, runtimeConfig=wanted, prevResult=add.text)
        return add, check, pod_links()["net1"]

    add, check, link = on_node(piece)
    assert add.addresses == ("10.244.1.77", "fd10:244:1::77")
    assert (link.mac, link.mtu, check.status) == ("0a:00:00:00:00:77", 1300, 0)


def test_twenty_pods_at_once_have_twenty_links_and_addresses() -> None:
    async def piece(node: Node) -> Any:
        pods = [make_pod(f"p{number}") for number in range(20)]
        before = descriptors()
        added = await asyncio.gather(*(node.call("ADD", container=pod, pod=pod) for pod in pods))
        up = [pod_links(pod)["eth0"].up for pod in pods]
        deleted = await asyncio.gather(*(node.call("DEL", container=pod, pod=pod) for pod in pods))
        return added, up, deleted, settled(), descriptors() - before

    added, up, deleted, left, opened = on_node(piece)
    assert [each.status for each in (*added, *deleted)] == [0] * 40
    assert len({address for each in added for address in each.addresses}) == 40
    assert all(up)
    assert left == EMPTY
    assert opened <= 0


def test_one_pod_that_waits_for_its_protection_does_not_hold_up_another() -> None:
    async def piece(node: Node) -> Any:
        pods = [make_pod("slow"), make_pod("web")]
        node.guard.gate = asyncio.Event()
        slow = asyncio.create_task(node.call("ADD", container="slow", pod=pods[0]))
        await until(lambda: bool(node.guard.protected))
        gate, node.guard.gate = node.guard.gate, None
        quick = await node.call("ADD")
        up = pod_links("slow")["eth0"].up
        gate.set()
        return quick.status, up, (await slow).status

    assert on_node(piece) == (0, False, 0)


def test_a_pod_that_cannot_be_protected_gets_no_link_and_the_address_back() -> None:
    async def piece(node: Node) -> Any:
        make_pod()
        node.guard.refusal = CniError(Code.TRY_LATER, "the API server did not send pod shop/web in 30 s")
        refused = await node.call("ADD")
        left = settled(), list(pod_links())
        node.guard.refusal = None
        again = await node.call("ADD")
        return refused, left, again.addresses, len(node.guard.released)

    refused, left, addresses, released = on_node(piece)
    assert refused.status == 1
    assert (refused.text["code"], refused.text["msg"]) == (11, "the API server did not send pod shop/web in 30 s")
    assert left == (EMPTY, ["lo"])
    assert addresses == ("10.244.1.3", "fd10:244:1::3")
    assert released == 1


def test_a_runtime_that_loses_patience_leaves_nothing() -> None:
    async def piece(node: Node) -> Any:
        make_pod()
        node.guard.gate = asyncio.Event()
        add = await node.call("ADD", timeoutSeconds=1)
        await node.call("DEL")
        return add.text["code"], settled(), list(pod_links())

    assert on_node(piece) == (11, EMPTY, ["lo"])


def test_an_agent_that_is_stopped_undoes_what_it_has_begun() -> None:
    async def piece(node: Node) -> Any:
        make_pod()
        node.guard.gate = asyncio.Event()
        adding = asyncio.create_task(node.call("ADD"))
        await until(lambda: bool(node.guard.protected))
        await node.stop()
        return (await adding).text["code"], settled(), list(pod_links()), len(node.guard.released)

    assert on_node(piece) == (11, EMPTY, ["lo"], 1)


def test_a_second_add_is_refused_and_the_first_stays() -> None:
    async def piece(node: Node) -> Any:
        make_pod()
        first = await node.call("ADD")
        second = await node.call("ADD")
        return second, await node.call("CHECK", prevResult=first.text)

    second, check = on_node(piece)
    assert (second.text["code"], second.text["msg"]) == (
        102,
        f"container c1 has its eth0 already (link {NAME}); DEL comes first",
    )
    assert check.status == 0


def test_an_interface_of_that_name_in_the_pod_is_left_alone() -> None:
    async def piece(node: Node) -> Any:
        make_pod()
        with netns.entered("web"), Rtnetlink() as inside:
            inside.add_bridge("eth0", "02:00:00:00:00:09")
        return await node.call("ADD"), settled(), pod_links()["eth0"].mac

    add, left, mac = on_node(piece)
    assert (add.text["code"], add.text["msg"]) == (
        102,
        "the pod has a link eth0 already, which is not ours; choose another name",
    )
    assert (left, mac) == (EMPTY, "02:00:00:00:00:09")


@pytest.mark.parametrize(
    ("path", "words"),
    [("/run/netns/none", "No such file or directory"), ("/proc/self/cmdline", "Invalid argument")],
)
def test_a_namespace_that_is_missing_or_none_has_code_3(path: str, words: str) -> None:
    async def piece(node: Node) -> Any:
        add = await node.call("ADD", netns=path)
        delete = await node.call("DEL", netns=path)
        return add, delete, settled()

    add, delete, left = on_node(piece)
    assert (add.text["code"], add.text["msg"]) == (3, f"CNI_NETNS {path}: {words}; it must be a network namespace")
    assert (delete.status, left) == (0, EMPTY)


def test_a_pod_whose_namespace_is_gone_is_deleted_and_its_address_given_again_last() -> None:
    async def piece(node: Node) -> Any:
        make_pod()
        await node.call("ADD")
        netns.delete("web")
        await until(lambda: NAME not in settled()[0])
        deleted = await node.call("DEL", netns=None)
        resting = [str(address) for address in addresses_of(node)._freed]
        make_pod()
        again = await node.call("ADD", container="c2")
        return deleted, resting, again.addresses[0], [each.container for each in node.guard.released]

    resting = ["10.244.1.2", "fd10:244:1::2"]
    assert on_node(piece) == (Printed(0, None), resting, "10.244.1.3", ["c1"])


def test_del_twice_late_or_of_a_stranger_changes_nothing() -> None:
    async def piece(node: Node) -> Any:
        make_pod()
        old = await node.call("ADD", container="old")
        await node.call("DEL", container="old")
        new = await node.call("ADD", container="new")
        late = [await node.call("DEL", container=name) for name in ("old", "old", "never")]
        late.append(await node.call("DEL", container="old", prevResult=old.text))
        return late, await node.call("CHECK", container="new", prevResult=new.text)

    late, check = on_node(piece)
    assert late == [Printed(0, None)] * 4
    assert check == Printed(0, None)


def test_dels_that_came_without_an_agent_are_done_when_it_starts() -> None:
    async def piece(node: Node) -> Any:
        for pod in ("web", "stays"):
            make_pod(pod)
        await node.call("ADD")
        await node.call("ADD", container="c2", pod="stays")
        await node.stop()
        queued = await node.call("DEL")
        before = settled()[0]
        await node.start()
        return (
            queued,
            NAME in before,
            NAME in settled()[0],
            [each.container for each in node.found],
            node.guard.released,
        )

    queued, before, after, found, released = on_node(piece)
    assert (queued, before, after, found) == (Printed(0, None), True, False, ["c2"])
    assert [each.pod for each in released] == [PodId("shop", "web")]


def test_a_queued_file_that_is_no_call_is_dropped_and_the_others_are_done() -> None:
    async def piece(node: Node) -> Any:
        make_pod()
        await node.call("ADD")
        await node.stop()
        await node.call("DEL")
        DOORS.queue.joinpath("000-rubbish").write_bytes(b"rubbish")
        DOORS.queue.joinpath(".half").write_bytes(b"half")
        await node.start()
        return [file.name for file in DOORS.queue.iterdir()], settled()

    assert on_node(piece) == ([".half"], EMPTY)


def test_garbage_collection_releases_what_is_not_listed() -> None:
    async def piece(node: Node) -> Any:
        for pod in ("a", "b", "c"):
            make_pod(pod)
            await node.call("ADD", container=pod, pod=pod)
        valid = [{"containerID": "b", "ifname": "eth0"}, {"containerID": "c", "ifname": "net1"}]
        done = await node.call("GC", **{"cni.dev/valid-attachments": valid})
        return done, settled()[0], sorted(each.container for each in node.guard.released)

    done, links, released = on_node(piece)
    assert (done, released) == (Printed(0, None), ["a", "c"])
    assert links == tuple(sorted((*EMPTY[0], interface_name("b", "eth0"))))


def test_garbage_collection_goes_on_after_an_error_and_tells_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    async def piece(node: Node) -> Any:
        for pod in ("a", "b", "c"):
            make_pod(pod)
            await node.call("ADD", container=pod, pod=pod)
        real = Rtnetlink.delete_link

        def refusing(self: Rtnetlink, name: str) -> None:
            if name != interface_name("b", "eth0"):
                raise RequestError(f"delete link {name}", 16)
            real(self, name)

        monkeypatch.setattr(Rtnetlink, "delete_link", refusing)
        return await node.call("GC", **{"cni.dev/valid-attachments": []}), settled()[0]

    done, links = on_node(piece)
    assert done.text["code"] == 100
    assert done.text["msg"].startswith(
        "2 of the attachments that are gone cannot be released; the first: delete link vp"
    )
    assert "Device or resource busy" in done.text["details"]
    assert interface_name("b", "eth0") not in links


def test_garbage_collection_gives_back_addresses_whose_links_went_with_their_pods() -> None:
    async def piece(node: Node) -> Any:
        for pod in ("a", "b"):
            make_pod(pod)
            await node.call("ADD", container=pod, pod=pod)
        for pod in ("a", "b"):
            netns.delete(pod)
        await until(lambda: settled()[0] == EMPTY[0])
        await node.call("GC", **{"cni.dev/valid-attachments": []})
        allocator = addresses_of(node)
        return sorted(str(address) for address in allocator._freed if address not in allocator._held)

    assert on_node(piece) == ["10.244.1.2", "10.244.1.3", "fd10:244:1::2", "fd10:244:1::3"]


def test_a_full_range_is_looked_through_again_before_a_pod_is_refused() -> None:
    async def piece(node: Node) -> Any:
        make_pod("gone")
        await node.call("ADD", container="gone", pod="gone")
        netns.delete("gone")
        await until(lambda: settled()[0] == EMPTY[0])
        make_pod()
        return await node.call("ADD"), await node.call("ADD", container="c2", ifname="net1")

    added, refused = on_node(piece, ranges=(ip_network("10.244.1.0/30"),))
    assert added.addresses == ("10.244.1.2",)
    assert refused.text["code"] == 11
    assert refused.text["msg"].startswith("10.244.1.0/30: all 1 addresses of this node are in use")


def test_status_says_why_no_pod_can_be_attached() -> None:
    async def piece(node: Node) -> Any:
        fine = await node.call("STATUS")
        node.reason = "the API server does not answer since 10:15"
        return fine, await node.call("STATUS")

    fine, away = on_node(piece)
    assert fine == Printed(0, None)
    assert (away.text["code"], away.text["msg"]) == (50, "the API server does not answer since 10:15")


DAMAGE = {
    "route of the node": (
        lambda host, _: host.delete_route(ip_network("10.244.1.2/32"), protocol=4),
        f"the node has no route 10.244.1.2/32 dev {NAME}",
    ),
    "node's end": (lambda host, _: host.set_link(NAME, up=False), f"link {NAME} on the node is down"),
    "neighbour of the node": (
        lambda host, _: host.add_neighbour(NAME, ip_address("10.244.1.2"), "02:00:00:00:00:0f"),
        f"the node's permanent neighbour 10.244.1.2 on {NAME} is gone or changed",
    ),
    "address": (
        lambda _, inside: inside.delete_address("eth0", ip_interface("fd10:244:1::2/128")),
        "eth0 in the pod has no address fd10:244:1::2",
    ),
    "way out": (
        lambda _, inside: inside.delete_route(ip_network("0.0.0.0/0"), protocol=4),
        "the pod has no route 0.0.0.0/0 via 169.254.1.1 dev eth0 onlink",
    ),
    "gateway": (
        lambda _, inside: inside.add_neighbour("eth0", ip_address("fe80::1"), "02:00:00:00:00:0f"),
        "the pod's permanent neighbour fe80::1 on eth0 is gone or changed",
    ),
    "pod's end": (lambda _, inside: inside.set_link("eth0", up=False), "link eth0 in the pod is down"),
    "mac": (
        lambda _, inside: inside.set_link("eth0", mac="06:00:00:00:00:0f"),
        f"link eth0 in the pod has MAC 06:00:00:00:00:0f, not {MAC}",
    ),
    "mtu": (lambda _, inside: inside.set_link("eth0", mtu=1280), "link eth0 in the pod has MTU 1280, not 1400"),
    "link": (lambda host, _: host.delete_link(NAME), f"link {NAME} of the pod is gone from the node"),
}


@pytest.mark.parametrize("part", DAMAGE)
def test_check_names_what_was_damaged(part: str) -> None:
    damage, words = DAMAGE[part]

    async def piece(node: Node) -> Printed:
        make_pod()
        node.config["cniVersion"] = "1.1.0"
        add = await node.call("ADD")
        with Rtnetlink() as host, netns.entered("web"), Rtnetlink() as inside:
            damage(host, inside)
        return await node.call("CHECK", prevResult=add.text)

    check = on_node(piece)
    assert (check.status, check.text["code"]) == (1, 101)
    assert words in (check.text["msg"], *check.text.get("details", "").split("\n"))


def test_an_address_that_another_program_routes_is_not_given_out() -> None:
    async def piece(node: Node) -> Any:
        await node.stop()
        with Rtnetlink() as host:
            host.add_route(Route(ip_network("10.244.1.2/32"), None, "uplink"))
        await node.start()
        make_pod()
        return (await node.call("ADD")).addresses[0]

    assert on_node(piece) == "10.244.1.3"


def test_wrong_input_is_answered_in_words_and_leaves_nothing() -> None:
    async def piece(node: Node) -> Any:
        make_pod()
        calls = [
            await node.call("ADD", ifname="lo"),
            await node.call("ADD", cniVersion="0.2.0"),
            await node.call("ADD", args="IgnoreUnknown=1"),
            await node.call("ADD", mtu=1000),
            await node.call("ADD", runtimeConfig={"ips": ["10.9.9.9"]}),
            await node.call("CHECK"),
        ]
        return [each.text["code"] for each in calls], settled(), list(pod_links())

    assert on_node(piece) == ([4, 1, 4, 7, 7, 7], EMPTY, ["lo"])


def test_two_agents_do_not_share_a_socket() -> None:
    async def piece(node: Node) -> str:
        first = node._service, node._serving
        with pytest.raises(InputError) as error:
            await node.start()
        node._service, node._serving = first
        return str(error.value)

    assert "another agent answers here; stop it or choose another --cni-socket" in on_node(piece)


def test_callers_that_are_not_the_plugin_do_no_harm() -> None:
    async def piece(node: Node) -> Any:
        make_pod()
        for rubbish in (b"", b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\5abc", b"\0\0\0\4abcd"):
            _, writer = await asyncio.open_unix_connection(node.config["socket"])
            writer.write(rubbish)
            writer.close()
        return (await node.call("ADD")).status

    assert on_node(piece) == 0
