"""A log group can be taken while packets are logged to it without pause, and what was logged meanwhile is read."""

import socket
import threading
from select import select

from inside import run_inside
from vallum.kernel.nflog import Logged, Nflog
from vallum.kernel.nft import Nft
from vallum.kernel.rtnetlink import Rtnetlink

GROUP, OPENED, PATIENCE = 86, 300, 10.0
LOGGED = f"""
table inet vallum-test {{
  chain out {{
    type filter hook output priority 0
    log prefix "here" group {GROUP}
  }}
}}
"""


def test_a_group_is_taken_under_a_flood_of_what_is_logged_to_it() -> None:
    def opened() -> list[Logged]:
        with Rtnetlink() as netlink:
            netlink.set_link("lo", up=True)
        Nft().run(LOGGED)
        over = threading.Event()

        def flood() -> None:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                while not over.is_set():
                    sock.sendto(b"", ("127.0.0.1", 9))

        sender = threading.Thread(target=flood)
        sender.start()
        found: list[Logged] = []
        try:
            for _ in range(OPENED):
                log = Nflog(GROUP)
                found += log.drain()
                log.close()
            last = Nflog(GROUP)
            select([last], [], [], PATIENCE)
            found += last.drain()
        finally:
            over.set()
            sender.join()
        return found

    found = run_inside(opened)
    assert found
    assert {each.prefix for each in found} == {"here"}
