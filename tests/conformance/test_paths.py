"""Corners that one probe cannot show: fragments, addresses rewritten on the way, ICMP errors of real flows."""

import asyncio
import fcntl
import socket
import struct
from typing import Any

import pytest

from build import block, pod, policy, port, rule, select, space
from ends import denial, listening, place, received, send_raw
from inside import eventually
from labs import in_lab, nft, told
from vallum.analysis.probe import parse
from vallum.kernel import netns
from vallum.lab import wire
from vallum.lab.lab import Lab
from vallum.lab.senders import Flow
from vallum.model.address import Address, pack
from vallum.model.objects import UDP, Object, Peer

pytestmark = pytest.mark.packets

SERVER = pod("a/server", "10.44.1.10", "fd44:0:0:1::10", app="server", node="node1")
CLIENT = pod("a/client", "10.44.2.10", "fd44:0:0:2::10", app="client", node="node2")
STRANGER = pod("a/stranger", "10.44.2.20", "fd44:0:0:2::20", app="stranger", node="node2")
PODS: tuple[Object, ...] = (space("a"), SERVER, CLIENT, STRANGER)
GUARD = policy(
    "a/guard", select(app="server"), [rule(Peer(pods=select(app="client")), ports=[port(5000, protocol=UDP)])]
)
PIECE = 1200
_IP_MTU_DISCOVER, _IP_PMTUDISC_DO, _IP_MTU = 10, 2, 14
_IPV6_MTU_DISCOVER, _IPV6_MTU = 23, 24
_SIOCSIFMTU = 0x8922


def fragments(source: Address, target: Address, ports: tuple[int, int], payload: bytes) -> list[bytes]:
    """A datagram cut into IP packets, in order."""
    body = wire.transport(source, target, UDP, ports, payload)
    parts = [(start, body[start : start + PIECE]) for start in range(0, len(body), PIECE)]
    return [_fragment(source, target, start, part, last=start + PIECE >= len(body)) for start, part in parts]


def _fragment(source: Address, target: Address, start: int, part: bytes, *, last: bool) -> bytes:
    ends = source.packed + target.packed
    if source.version == 6:
        header = struct.pack("!BBHI", UDP, 0, start | (not last), 77)
        return struct.pack("!IHBB", 6 << 28, len(header) + len(part), 44, 64) + ends + header + part
    flags = (0 if last else 0x2000) | start // 8
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(part), 77, flags, 64, UDP, 0) + ends
    return head[:10] + struct.pack("!H", wire.checksum(head)) + head[12:] + part


@pytest.mark.stance(16)
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("order", [1, -1], ids=["in order", "the last one first"])
def test_later_fragments_share_the_verdict_of_the_first(version: int, order: int):
    payload = bytes(range(256)) * 16

    async def piece(lab: Lab) -> list[str]:
        where, target = place(lab, "server", version)
        with listening(where, target, 5000) as sock:
            wrong = []
            source = place(lab, "stranger", version)
            send_raw(source[0], target, fragments(source[1], target, (41000, 5000), payload)[::order])
            if await denial(lab, Flow(pack(source[1]), pack(target), UDP, 41000, 5000)) != "node1":
                wrong.append("the stranger's datagram left no record")
            source = place(lab, "client", version)
            send_raw(source[0], target, fragments(source[1], target, (42000, 5000), payload)[::order])
            if await received(sock) != payload:
                wrong.append("something else than the client's datagram came first")
            return wrong

    assert in_lab(piece, (*PODS, GUARD)) == []


SERVICE = """
table ip services {
	chain pre { type nat hook prerouting priority -100
		ip daddr 10.96.0.1 udp dport 80 dnat to 10.44.1.10:5000
	}
	chain post { type nat hook postrouting priority 100
		ip saddr 10.44.1.10 ip daddr 10.44.1.10 masquerade
	}
}
"""


async def asks_service(lab: Lab, name: str) -> str:
    """Ask the service's address from a pod: whom the server saw, or the node that recorded the denial."""
    where, own = place(lab, name, 4)
    server_where, server = place(lab, "server", 4)
    with listening(server_where, server, 5000) as service, listening(where, own, 0) as sock:
        number = sock.getsockname()[1]
        sock.connect(("10.96.0.1", 80))
        sock.send(b"question")
        arrived = asyncio.ensure_future(asyncio.get_running_loop().sock_recvfrom(service, 64))
        denied = asyncio.ensure_future(denial(lab, Flow(pack(own), pack(server), UDP, number, 5000)))
        done, pending = await asyncio.wait((arrived, denied), timeout=5, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        if arrived not in done:
            return f"denied on {denied.result()}" if denied in done else "lost"
        service.sendto(b"answer", arrived.result()[1])
        return f"answered {(await received(sock)).decode()}"


def serve(lab: Lab) -> None:
    for node in lab.topology.nodes:
        nft(node.netns, script=SERVICE)


def out(*peers: Peer, number: int) -> Object:
    return policy("a/out", select(app="client"), egress=[rule(*peers, ports=[port(number, protocol=UDP)])])


@pytest.mark.stance(5, 11)
@pytest.mark.parametrize(
    ("egress", "expected"),
    [
        (out(block("10.44.1.0/24"), number=5000), "answered answer"),
        (out(block("10.44.1.0/24"), number=80), "denied on node2"),
        (out(block("10.96.0.0/16"), number=80), "denied on node2"),
        (out(Peer(pods=select(app="server")), number=5000), "answered answer"),
    ],
    ids=["block of the pod", "port of the service", "block of the service", "selector of the pod"],
)
def test_a_service_address_is_judged_by_the_pod_behind_it(egress: Object, expected: str):
    async def piece(lab: Lab) -> str:
        serve(lab)
        return await asks_service(lab, "client")

    assert in_lab(piece, (*PODS, egress)) == expected


@pytest.mark.stance(14)
def test_a_pod_reaches_itself_through_a_service_although_everything_is_denied():
    async def piece(lab: Lab) -> str:
        serve(lab)
        return await asks_service(lab, "server")

    assert in_lab(piece, (*PODS, policy("a/closed", ingress=[], egress=[]))) == "answered answer"


def set_mtu(where: str, device: str, mtu: int) -> None:
    with netns.entered(where), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, _SIOCSIFMTU, struct.pack("16si", device.encode(), mtu))


@pytest.mark.stance(15)
@pytest.mark.parametrize("version", [4, 6])
def test_path_mtu_works_for_a_pod_that_nothing_may_reach(version: int):
    """Packet too big comes from the other node, which no policy admits; it belongs to a flow of the pod."""

    async def piece(lab: Lab) -> int:
        plan = next(each for each in lab.topology.pods if each.pod == SERVER.id)
        set_mtu(lab.topology.node_of("node1").netns, plan.interface, 1280)
        where, own = place(lab, "client", version)
        server_where, server = place(lab, "server", version)
        level = socket.IPPROTO_IP if version == 4 else socket.IPPROTO_IPV6
        discover, mtu = (_IP_MTU_DISCOVER, _IP_MTU) if version == 4 else (_IPV6_MTU_DISCOVER, _IPV6_MTU)
        with listening(server_where, server, 5000), listening(where, own, 0) as sock:
            sock.setsockopt(level, discover, _IP_PMTUDISC_DO)
            sock.connect((str(server), 5000))
            sock.send(bytes(1400))
            assert eventually(lambda: sock.getsockopt(level, mtu) < 1500)
            return sock.getsockopt(level, mtu)

    assert in_lab(piece, (*PODS, policy("a/shut", select(app="client"), ingress=[]))) == 1280


@pytest.mark.stance(15)
def test_an_icmp_error_of_no_known_flow_is_judged_like_any_other_icmp():
    error = {"from": "203.0.113.9", "to": "a/server", "protocol": "ICMP", "type": 3, "code": 4}

    async def piece(lab: Lab) -> list[Any]:
        outcomes = await lab.probe([parse(error), parse(error | {"from": "2001:db8::9", "type": 2, "code": 0})])
        return told(outcomes) + [outcome.sent for outcome in outcomes if getattr(outcome, "sent", "") != "deny"]

    assert in_lab(piece, (*PODS, GUARD)) == []


@pytest.mark.stance(15)
def test_an_icmp_error_of_an_allowed_flow_passes_where_nothing_else_does():
    flow = {"id": "flow", "from": "a/client", "to": "203.0.113.9", "protocol": "UDP", "port": 53}
    error = {"from": "203.0.113.9", "to": "a/client", "protocol": "ICMP", "type": 3, "of": "flow"}

    async def piece(lab: Lab) -> list[Any]:
        outcomes = await lab.probe([parse(flow), parse(error), parse(error | {"of": None})])
        return [getattr(outcome, "sent", str(outcome)) for outcome in outcomes]

    closed = policy("a/shut", select(app="client"), ingress=[])
    assert in_lab(piece, (*PODS, closed)) == ["allow", "allow", "deny"]


def test_the_table_of_every_node_is_printed_by_nft_while_packets_flow():
    async def piece(lab: Lab) -> int:
        return sum(nft(node.netns, "list", "ruleset").count("hook postrouting") for node in lab.topology.nodes)

    assert in_lab(piece, (*PODS, GUARD)) == 2
