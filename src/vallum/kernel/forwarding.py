"""Routing for others, switched on in the network namespace of the calling thread; written only where it is off.

IPv6 forwarding makes the kernel ignore router advertisements on interfaces that merely accept them (accept_ra 1), and
with them a node's own default route would go: those are told to accept them all the same (2) first.
"""

from pathlib import Path

from vallum.kernel import sysctl

_KEYS = {4: "net/ipv4/ip_forward", 6: "net/ipv6/conf/all/forwarding"}
_INTERFACES = Path("/proc/sys/net/ipv6/conf")


def ensure(family: int) -> bool:
    """Forward packets of this family (4 or 6). Reports whether it was off. Raises KernelError, with the key."""
    if sysctl.read(_KEYS[family]) == "1":
        return False
    if family == 6:
        for folder in sorted(_INTERFACES.iterdir()):
            key = f"net/ipv6/conf/{folder.name}/accept_ra"
            if folder.name != "all" and sysctl.read(key) == "1":
                sysctl.write(key, 2)
    sysctl.write(_KEYS[family], 1)
    return True
