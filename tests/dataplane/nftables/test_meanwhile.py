"""While the table changes, a packet under way meets rules of before and after; what both deny must not get through,
and what both allow must not be lost.
"""

import mmap
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import ip_interface
from itertools import cycle

import pytest

from build import NODE1, block, pod, policy, rule, select, space
from inside import eventually, fork, run_inside
from programs import linkless, program_of
from vallum.dataplane.nftables.plane import NftablesPlane
from vallum.kernel.rtnetlink import Rtnetlink
from vallum.model.objects import Peer

pytestmark = pytest.mark.packets

FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
SERVER = {4: "10.44.1.10", 6: "fd44:0:0:1::10"}
CLIENT = {4: "203.0.113.7", 6: "2001:db8::7"}
STRANGER = {4: "10.44.2.20", 6: "fd44:0:0:2::20"}
THINGS = (
    NODE1,
    space("a"),
    pod("a/server", *SERVER.values(), app="server"),
    policy("a/guard", select(app="server"), [rule(block("203.0.113.0/24"), block("2001:db8::/32"))]),
)
FRIENDS = policy("a/more", select(app="server"), [rule(Peer(pods=select(app="friend")))])
PASSING = {
    "a pod that no policy speaks of": pod("a/passing", "10.44.1.99", "fd44:0:0:1::99"),
    "a policy of the server": FRIENDS,
    "a pod that it lets in": pod("a/friend", "10.44.1.99", "fd44:0:0:1::99", app="friend"),
}
"""What comes and goes."""
FLOWS = 20
CHANGES = 120
PORT = 9


@contextmanager
def flood(version: int, source: str) -> Iterator[Callable[[], int]]:
    """Datagrams to the server, as many as a process can send, from FLOWS ports in turn.

    Yields how many were denied up to now: the sender of this machine is told at once.
    """
    denied = mmap.mmap(-1, 8)

    def send() -> None:
        with ExitStack() as stack:
            socks = [stack.enter_context(socket.socket(FAMILY[version], socket.SOCK_DGRAM)) for _ in range(FLOWS)]
            for sock in socks:
                sock.bind((source, 0))
                sock.connect((SERVER[version], PORT))
            for sock in cycle(socks):
                try:
                    sock.send(b"x")
                except PermissionError:
                    denied[:] = (int.from_bytes(denied[:], "big") + 1).to_bytes(8, "big")

    sender = fork(send)
    try:
        yield lambda: int.from_bytes(denied[:], "big")
    finally:
        os.kill(sender, signal.SIGKILL)
        os.waitpid(sender, 0)
        denied.close()


def heard(sock: socket.socket) -> int:
    """How many datagrams have come."""
    count = 0
    while True:
        try:
            sock.recv(16)
        except BlockingIOError:
            return count
        count += 1


def meanwhile(version: int, source: str, passing: str) -> tuple[int, int]:
    """What was heard and what was denied while something came and went; the table is in force before."""
    with Rtnetlink() as net:
        net.set_link("lo", up=True)
        for each in (SERVER[version], source):
            net.add_address("lo", ip_interface(each))
    base = (*THINGS, *(FRIENDS,) * ("lets in" in passing))
    programs = [linkless(program_of(things)) for things in (base, (*base, PASSING[passing]))]
    plane = NftablesPlane()
    plane.apply(programs[0])
    with socket.socket(FAMILY[version], socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        sock.bind((SERVER[version], PORT))
        with flood(version, source) as denied:
            count = 0
            for step in range(CHANGES):
                plane.apply(programs[step % 2])
                if step % 4 < 2:  # what is left after the other changes is there again for the next
                    plane.tidy()
                count += heard(sock)
            refused = denied()
            plane.clear()
            assert eventually(lambda: heard(sock) > 0), "nothing comes through without a table either"
    return count, refused


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("passing", PASSING)
def test_a_denied_flow_gets_nothing_through_while_the_table_changes(version: int, passing: str):
    heard_of, denied = run_inside(lambda: meanwhile(version, STRANGER[version], passing))
    assert heard_of == 0
    assert denied > CHANGES


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("passing", PASSING)
def test_an_allowed_flow_loses_nothing_while_the_table_changes(version: int, passing: str):
    heard_of, denied = run_inside(lambda: meanwhile(version, CLIENT[version], passing))
    assert denied == 0
    assert heard_of > CHANGES
