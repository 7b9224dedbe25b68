"""sd_notify(3): tells a service manager that the agent is ready, and regularly that it lives. Silent without one."""

import os
import socket

_MICROSECONDS = 1_000_000


def notify(state: str) -> None:
    """Send a state such as `READY=1`. Nobody to tell, or nobody who listens, is fine."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        try:
            sock.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)
        except OSError:
            return


def watchdog() -> float | None:
    """Seconds between two signs of life that the manager asks for: half of its deadline. None: it asks for none."""
    asked = os.environ.get("WATCHDOG_USEC", "")
    meant = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return int(asked) / _MICROSECONDS / 2 if asked.isdecimal() and int(asked) > 0 and meant else None
