"""Corners that only a kernel has: malformed packets, packets without tracking, neighbours, flows older than the table.

Everything is asked of packets, through the nftables plane of two real agents.
"""

import asyncio
import re
import socket
import struct
import subprocess
from contextlib import ExitStack
from ipaddress import ip_address
from signal import SIGKILL
from typing import Any

import pytest

from build import pod, policy, port, rule, select, space
from ends import denial, listening, place, received, send_raw
from inside import eventually
from labs import in_lab, nft
from vallum.analysis.probe import parse
from vallum.kernel import netns
from vallum.lab import wire
from vallum.lab.lab import Lab
from vallum.lab.senders import Flow
from vallum.lab.servers import raw_socket, transport_of
from vallum.model.address import Address, pack
from vallum.model.objects import SCTP, TCP, UDP, Object, Peer

pytestmark = pytest.mark.packets

SERVER = pod("a/server", "10.44.1.10", "fd44:0:0:1::10", app="server", node="node1")
OPEN = pod("a/open", "10.44.1.11", "fd44:0:0:1::11", app="open", node="node1")
CLIENT = pod("a/client", "10.44.2.10", "fd44:0:0:2::10", app="client", node="node2")
STRANGER = pod("a/stranger", "10.44.2.20", "fd44:0:0:2::20", app="stranger", node="node2")
PODS: tuple[Object, ...] = (space("a"), SERVER, OPEN, CLIENT, STRANGER)
CLIENTS = rule(Peer(pods=select(app="client")), ports=[port(5000, protocol=UDP), port(5000), port(5000, protocol=SCTP)])
GUARD = policy("a/guard", select(app="server"), [CLIENTS])
SHUT = policy("a/shut", select(app="client"), ingress=[])
MUTE = policy("a/mute", select(app="server"), egress=[])
FAMILIES = (4, 6)
_HOP_BY_HOP, _OPTIONS, _EXPERIMENT = 0, 60, 253


def malformed(source: Address, target: Address) -> dict[str, tuple[int, bytes]]:
    """Packets whose ports nobody can tell, though they claim a protocol that has some: (protocol, packet)."""
    whole = wire.transport(source, target, UDP, (40000, 5000), b"payload")
    bodies = {
        "a TCP header that ends early": (TCP, wire.transport(source, target, TCP, (40000, 5000), b"")[:3]),
        "a UDP header that ends early": (UDP, whole[:3]),
        "an SCTP header that ends early": (SCTP, b"\x9c\x40\x13"),
        "nothing behind the IP header": (TCP, b""),
    }
    found = {name: (kind, wire.ip_packet(source, target, kind, body)) for name, (kind, body) in bodies.items()}
    if target.version == 6:
        unknown = bytes([UDP, 0]) + bytes(6) + whole
        found["an unknown header before UDP"] = (_EXPERIMENT, wire.ip_packet(source, target, _EXPERIMENT, unknown))
        cut = bytes([UDP, 9]) + bytes(6)
        found["options longer than the packet"] = (_OPTIONS, wire.ip_packet(source, target, _OPTIONS, cut))
    return found


def unusual(source: Address, target: Address) -> list[bytes]:
    """A packet that is right, for UDP port 5000, behind options or two extension headers."""
    whole = wire.transport(source, target, UDP, (40001, 5000), b"payload")
    if target.version == 4:
        head = struct.pack("!BBHHHBBH", 0x47, 0, 28 + len(whole), 0, 0, 64, UDP, 0) + source.packed + target.packed
        head += b"\x01" * 7 + b"\x00"  # options: seven times nothing, and the end
        return [head[:10] + struct.pack("!H", wire.checksum(head)) + head[12:] + whole]
    padding = bytes([1, 4, 0, 0, 0, 0])
    chain = bytes([_OPTIONS, 0]) + padding + bytes([UDP, 0]) + padding + whole
    return [wire.ip_packet(source, target, _HOP_BY_HOP, chain)]


def counted(lab: Lab, name: str) -> int:
    """Packets that the table of a node has dropped."""
    text = nft(lab.topology.node_of(name).netns, "list", "table", "inet", "vallum")
    return sum(int(number) for number in re.findall(r"counter packets (\d+) bytes \d+ drop", text))


async def arrives(sock: socket.socket, version: int, body: bytes) -> bool:
    """Whether a packet with this payload comes within some seconds."""
    try:
        while transport_of(version, await received(sock)) != body:
            pass
    except TimeoutError:
        return False
    return True


@pytest.mark.stance(24)
def test_what_cannot_be_understood_is_dropped_and_counted_for_isolated_pods_and_passes_for_others():
    async def piece(lab: Lab) -> list[str]:
        wrong = [each for version in FAMILIES for each in await sent(lab, version)]
        statuses = [await agent.ask() for agent in lab.agents.values()]
        return wrong + [f"{status['node']} is ill" for status in statuses if not status["healthy"]]

    async def sent(lab: Lab, version: int) -> list[str]:
        where, source = place(lab, "client", version)
        _, target = place(lab, "server", version)
        open_where, beside = place(lab, "open", version)
        before = counted(lab, "node1")
        packets = [packet for _, packet in malformed(source, target).values()]
        send_raw(where, target, packets)
        wrong = []
        if not eventually(lambda: counted(lab, "node1") == before + len(packets), 2):
            wrong.append(f"IPv{version}: {counted(lab, 'node1') - before} of {len(packets)} were dropped")
        for name, (protocol, packet) in malformed(source, beside).items():
            with raw_socket(open_where, version, protocol) as sock:
                send_raw(where, beside, [packet])
                if not await arrives(sock, version, packet[20 if version == 4 else 40 :]):
                    wrong.append(f"IPv{version}, {name}: did not reach the pod that nothing isolates")
        return wrong

    assert in_lab(piece, (*PODS, GUARD)) == []


@pytest.mark.stance(24)
def test_options_and_known_headers_before_the_ports_hide_nothing():
    async def piece(lab: Lab) -> list[str]:
        return [
            each for version in FAMILIES for name in ("client", "stranger") for each in await sent(lab, version, name)
        ]

    async def sent(lab: Lab, version: int, name: str) -> list[str]:
        where, source = place(lab, name, version)
        server_where, target = place(lab, "server", version)
        (packet,) = unusual(source, target)
        before = counted(lab, "node1")
        with listening(server_where, target, 5000) as sock:
            send_raw(where, target, [packet])
            if name == "client":
                return [] if await received(sock) == b"payload" else ["something else than the client's packet came"]
            return [] if eventually(lambda: counted(lab, "node1") == before + 1) else ["the stranger's was not dropped"]

    assert in_lab(piece, (*PODS, GUARD)) == []


NOTRACK = """
table inet untracked {
	chain pre { type filter hook prerouting priority -300
		udp dport { 5000, 5001 } notrack
		udp sport { 5000, 5001 } notrack
	}
}
"""


@pytest.mark.stance(13)
def test_without_tracking_a_packet_is_judged_both_ways_round():
    """As node-local DNS sends them: an answer passes because its question would, and so does what could be one."""

    async def piece(lab: Lab) -> list[str]:
        for node in lab.topology.nodes:
            nft(node.netns, script=NOTRACK)
        return [each for version in FAMILIES for each in await spoken(lab, version)]

    async def spoken(lab: Lab, version: int) -> list[str]:
        where, own = place(lab, "client", version)
        server_where, server = place(lab, "server", version)
        stranger_where, stranger = place(lab, "stranger", version)
        with (
            listening(server_where, server, 5000) as service,
            listening(where, own, 4000) as sock,
            listening(stranger_where, stranger, 5000) as other,
        ):
            sock.sendto(b"question", (str(server), 5000))
            heard = [await received(service)]
            for sender, text in ((service, b"answer"), (other, b"unasked")):
                sender.sendto(text, (str(own), 4000))
                heard.append(await received(sock))
        denials = [
            await denied(lab, server_where, server, own, (5001, 4000)),
            await denied(lab, stranger_where, stranger, server, (4001, 5000)),
        ]
        return [*map(bytes.decode, heard), *denials]

    async def denied(lab: Lab, where: str, source: Address, target: Address, ends: tuple[int, int]) -> str:
        body = wire.transport(source, target, UDP, ends, b"x")
        send_raw(where, target, [wire.ip_packet(source, target, UDP, body)])
        return await denial(lab, Flow(pack(source), pack(target), UDP, *ends))

    told = ["question", "answer", "unasked", "node1", "node1"]
    assert in_lab(piece, (*PODS, GUARD, MUTE, SHUT)) == [*told, *told]


@pytest.mark.stance(15, 18)
def test_icmp_errors_of_a_flow_pass_right_after_it_lost_its_permission():
    nothing = (policy("a/guard", select(app="server"), []), policy("a/closed", egress=[]))

    async def piece(lab: Lab) -> list[str]:
        with ExitStack() as stack:
            flows = [await begun(lab, version, stack) for version in FAMILIES]
            await lab.apply((*PODS, SHUT, *nothing))
            return [await revoked(lab, service, sock) for service, sock in flows]

    assert in_lab(piece, (*PODS, GUARD, SHUT)) == ["refused", "refused"]


async def begun(lab: Lab, version: int, stack: ExitStack) -> tuple[socket.socket, socket.socket]:
    """The server's and the client's socket of a flow that is under way."""
    where, own = place(lab, "client", version)
    server_where, server = place(lab, "server", version)
    service = stack.enter_context(listening(server_where, server, 5000))
    sock = stack.enter_context(listening(where, own, 0))
    sock.connect((str(server), 5000))
    sock.send(b"question")
    await received(service)
    return service, sock


async def revoked(lab: Lab, service: socket.socket, sock: socket.socket) -> str:
    """What the client gets when the server pushes, and then a port unreachable of a router comes."""
    (own_text, number), (server_text, _) = sock.getsockname()[:2], sock.getpeername()[:2]
    own, server = ip_address(own_text), ip_address(server_text)
    service.sendto(b"pushed", (own_text, number))
    if await denial(lab, Flow(pack(server), pack(own), UDP, 5000, number)) == "nobody":
        return "the flow kept its permission"
    router = next(each.ip for each in lab.topology.router.addresses if each.version == own.version)
    quoted = wire.ip_packet(own, server, UDP, wire.transport(own, server, UDP, (number, 5000), b"question"))
    kind, code = (3, 3) if own.version == 4 else (1, 4)
    error = wire.icmp(router, own, kind, code, b"\0\0\0\0" + quoted)
    send_raw(lab.topology.router.netns, own, [wire.ip_packet(router, own, wire.icmp_number(own), error)])
    try:
        return f"got {await received(sock)!r}"
    except ConnectionRefusedError:
        return "refused"
    except TimeoutError:
        return "the error did not arrive"


def link_local(where: str, device: str) -> str:
    """The link-local address of a link."""
    with netns.entered(where):
        words = ["ip", "-6", "-o", "address", "show", "dev", device, "scope", "link"]
        text = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    found = re.search(r"inet6 (\S+)/", text)
    assert found, f"{device} has no link-local address: {text!r}"
    return found[1]


@pytest.mark.stance(15)
def test_neighbour_discovery_passes_for_a_pod_that_is_shut_both_ways_and_ping_does_not():
    shut = policy("a/closed", ingress=[], egress=[])

    async def piece(lab: Lab) -> list[str]:
        plan = next(each for each in lab.topology.pods if each.pod == SERVER.id)
        node = lab.topology.node_of("node1")
        gateway = socket.inet_pton(socket.AF_INET6, link_local(node.netns, plan.interface))
        _, own = place(lab, "server", 6)
        with raw_socket(plan.netns, 6, socket.IPPROTO_ICMPV6) as sock:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
            sock.bind((str(own), 0))
            group = socket.inet_ntop(socket.AF_INET6, bytes.fromhex("ff0200000000000000000001ff") + gateway[13:])
            with netns.entered(plan.netns):
                index = socket.if_nametoindex("eth0")
            mac = bytes.fromhex(plan.mac.replace(":", ""))
            solicitation = struct.pack("!BBHI", 135, 0, 0, 0) + gateway + b"\x01\x01" + mac
            sock.sendto(solicitation, (group, 0, 0, index))
            answer = await received(sock)
            while answer[0] != 136:
                answer = await received(sock)
        outcomes = await lab.probe([parse({"from": "a/server", "to": "172.20.0.11", "protocol": "ICMP"})])
        told = [getattr(outcome, "sent", str(outcome)) for outcome in outcomes]
        return ["advertised" if answer[8:24] == gateway else "another address", *told]

    assert in_lab(piece, (*PODS, shut)) == ["advertised", "deny"]


@pytest.mark.stance(23)
def test_a_pod_that_writes_its_own_nodes_address_is_not_heard():
    """IPv4: the kernel takes it for a martian, which leaves no record, so what comes after it is waited for."""

    async def piece(lab: Lab) -> list[bytes]:
        where, own = place(lab, "open", 4)
        server_where, server = place(lab, "server", 4)
        node = next(each.ip for each in lab.topology.node_of("node1").addresses if each.version == 4)
        with listening(server_where, server, 5000) as sock:
            for source in (node, own):
                body = wire.transport(source, server, UDP, (40000, 5000), str(source).encode())
                send_raw(where, server, [wire.ip_packet(source, server, UDP, body)])
            return [await received(sock)]

    anybody = policy("a/guard", select(app="server"), [rule(Peer(pods=select(app="open")))])
    assert in_lab(piece, (*PODS, anybody)) == [b"10.44.1.11"]


@pytest.mark.stance(19)
def test_the_first_packet_seen_of_a_flow_older_than_the_table_counts_as_its_first():
    """The one limit: pushes of the older flow are denied as if the server had begun, until the client speaks."""

    async def piece(lab: Lab) -> list[str]:
        for agent in lab.agents.values():
            await agent.stop(SIGKILL)
        for node in lab.topology.nodes:
            nft(node.netns, "delete", "table", "inet", "vallum")
        where, own = place(lab, "client", 4)
        server_where, server = place(lab, "server", 4)
        with listening(server_where, server, 5000) as service, listening(where, own, 4000) as sock:
            sock.sendto(b"older", (str(server), 5000))
            found = [(await received(service)).decode()]
            service.sendto(b"answered", (str(own), 4000))
            found.append((await received(sock)).decode())
            for agent in lab.agents.values():
                agent.start()
            await lab.enforced()
            service.sendto(b"pushed", (str(own), 4000))
            found.append(f"denied by {await denial(lab, Flow(pack(server), pack(own), UDP, 5000, 4000))}")
            sock.sendto(b"again", (str(server), 5000))
            found.append((await received(service)).decode())
            service.sendto(b"answered again", (str(own), 4000))
            return [*found, (await received(sock)).decode()]

    assert in_lab(piece, (*PODS, GUARD, SHUT)) == ["older", "answered", "denied by node2", "again", "answered again"]


@pytest.mark.stance(17)
def test_a_new_pod_hears_nobody_but_its_peers_from_its_first_moment():
    """Both send all the while, before the pod is there; it listens before its link is up."""
    coming = pod("a/new", "10.44.1.50", "fd44:0:0:1::50", app="server", node="node1")

    async def piece(lab: Lab) -> dict[str, Any]:
        sockets: list[socket.socket] = []
        up = lab.cluster.link_up

        def listen_and_link_up(name: Any) -> None:
            if name == coming.id:
                sockets.append(raw_socket(lab.topology.namespace_of(name), 4, UDP))
            up(name)

        lab.cluster.link_up = listen_and_link_up  # type: ignore[method-assign]
        senders = [
            asyncio.create_task(each_millisecond(lab, name, coming.addresses[0])) for name in ("client", "stranger")
        ]
        await lab.apply((*PODS, GUARD, coming))
        heard = {str(await _from(sockets[0]))}
        for _ in range(200):
            heard.add(str(await _from(sockets[0])))
        for task in senders:
            task.cancel()
        sent = [
            task
            for task in await asyncio.gather(*senders, return_exceptions=True)
            if not isinstance(task, BaseException)
        ]
        sockets[0].close()
        return {"heard": sorted(heard), "ended early": sent}

    assert in_lab(piece, (*PODS, GUARD)) == {"heard": ["10.44.2.10"], "ended early": []}


async def each_millisecond(lab: Lab, name: str, target: Address) -> None:
    where, source = place(lab, name, 4)
    body = wire.transport(source, target, UDP, (40000, 5000), b"x")
    with raw_socket(where, 4, socket.IPPROTO_RAW, header=True) as out:
        while True:
            out.sendto(wire.ip_packet(source, target, UDP, body), (str(target), 0))
            await asyncio.sleep(0.001)


async def _from(sock: socket.socket) -> str:
    async with asyncio.timeout(5):
        _, peer = await asyncio.get_running_loop().sock_recvfrom(sock, 256)
    return str(peer[0])
