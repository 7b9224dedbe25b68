"""The simple allocator: a node gives out the addresses of its own ranges (spec.podCIDRs), one of each family a pod.

What is in use is in memory and comes from the kernel (`adopt`). What must outlive a restart beside it, where the round
stands and which addresses rest, is one small file, replaced as a whole; a disk that will not take it costs the rest of
a few addresses and no pod its start. What it ignores: pools, tenants, topology, other nodes.
"""

import json
import logging
import time
from collections.abc import Callable, Mapping
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from vallum.ipam import ExhaustedError, Lease, Owner, Request
from vallum.ipam.choose import REST, Range, choose, is_usable, rests, usable
from vallum.model.address import Address, Network
from vallum.model.errors import InputError

_log = logging.getLogger("vallum.ipam")
_BOOT = Path("/proc/sys/kernel/random/boot_id")


def boot_seconds() -> float:
    """Seconds since boot, sleep included. Nobody can set this clock, and it goes on when we are restarted."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """Tells this run of the machine from the one before; empty where it is not to be had."""
    try:
        return _BOOT.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


class NodeRanges:
    """Implements `ipam.Allocator`. `ranges` may be set anew at any time; pods keep their addresses outside of them.

    Args:
        ranges: at most one of each family is used for a pod; several of one family are filled in order.
        file: where the state is kept; its folder is made.
        clock: seconds since boot.
        boot: tells one run of the machine from another.
    """

    def __init__(
        self,
        ranges: tuple[Network, ...],
        file: Path,
        clock: Callable[[], float] = boot_seconds,
        boot: Callable[[], str] = boot_id,
    ) -> None:
        self.ranges = ranges
        self._file = file
        self._clock = clock
        self._boot = boot()
        self._held: dict[Address, Owner] = {}
        self._last: dict[Network, Address] = {}
        self._freed: dict[Address, float] = {}
        self._read()

    def allocate(self, request: Request) -> Lease:
        """See `ipam.Allocator`."""
        if not self.ranges:
            cure = "give it one: kube-controller-manager --allocate-node-cidrs, or kubectl patch node"
            raise ExhaustedError("Node spec.podCIDRs", f"this node has no range of addresses for its pods; {cure}")
        now = self._clock()
        found: list[Address] = []
        for family in dict.fromkeys(network.version for network in self.ranges):
            wanted = next((address for address in request.wanted if address.version == family), None)
            found.append(self._next(family, now) if wanted is None else self._check(wanted, now))
        for address in request.wanted:
            if address not in found:
                raise InputError("ips", self._outside(address))
        self._give(request.owner, found)
        return Lease(request.owner, tuple(found))

    def free(self, owner: Owner) -> None:
        """See `ipam.Allocator`."""
        self._take_back([address for address, holder in self._held.items() if holder == owner])

    def adopt(self, held: Mapping[Owner, tuple[Address, ...]]) -> None:
        """See `ipam.Allocator`."""
        now_held = {address: owner for owner, addresses in held.items() for address in addresses}
        self._take_back([address for address in self._held if address not in now_held])
        self._held = now_held

    def _take_back(self, addresses: list[Address]) -> None:
        for address in addresses:
            del self._held[address]
            self._freed[address] = self._clock()
        if addresses:
            self._write()

    def _give(self, owner: Owner, addresses: list[Address]) -> None:
        for address in addresses:
            self._held[address] = owner
            self._freed.pop(address, None)
            home = next(network for network in self.ranges if address in network)
            self._last[home] = address
        self._write()

    def _next(self, family: int, now: float) -> Address:
        ranges = [network for network in self.ranges if network.version == family]
        of = [Range(network, self._held, self._freed, self._last.get(network)) for network in ranges]
        found = [address for each in of if (address := choose(each, now)) is not None]
        rested = (address for address in found if not self._rests(address, now))
        best = next(rested, None) or min(found, key=lambda each: self._freed[each], default=None)
        if best is None:
            raise ExhaustedError(", ".join(map(str, ranges)), self._exhausted(ranges))
        return best

    def _check(self, address: Address, now: float) -> Address:
        if not any(is_usable(address, network) for network in self.ranges):
            raise InputError("ips", self._outside(address))
        if address in self._held:
            raise ExhaustedError("ips", f"{address} is in use on this node by {self._held[address]}; ask for another")
        if self._rests(address, now):
            left = self._freed[address] + REST - now
            raise ExhaustedError("ips", f"{address} was freed just now and rests for {left:.0f} s more; try again then")
        return address

    def _rests(self, address: Address, now: float) -> bool:
        since = self._freed.get(address)
        return since is not None and rests(since, now)

    def _outside(self, address: Address) -> str:
        spans = " and ".join("{} to {}".format(*_ends(network)) for network in self.ranges)
        return f"{address} is not to be had on this node; ask for one of {spans}, at most one of each family"

    def _exhausted(self, ranges: list[Network]) -> str:
        sizes = sum(last - first + 1 for first, last in map(usable, ranges))
        strangers = sum(not any(address in network for network in ranges) for address in self._held)
        held = len(self._held) - strangers
        cure = "a larger --node-cidr-mask-size for new nodes, fewer pods on this one (kubelet maxPods)"
        return f"all {sizes} addresses of this node are in use ({held} by pods); what helps: {cure}"

    # The file

    def _read(self) -> None:
        try:
            state = json.loads(self._file.read_text(encoding="utf-8"))
            now, same = self._clock(), state["boot"] == self._boot
            self._freed = {ip_address(text): min(at, now) if same else now for text, at in state["freed"].items()}
            self._last = {ip_network(text): ip_address(at) for text, at in state["last"].items()}
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            _log.warning("%s cannot be read (%s); every free address counts as rested", self._file, error)
            self._freed, self._last = {}, {}

    def _write(self) -> None:
        now = self._clock()
        self._freed = {address: at for address, at in self._freed.items() if rests(at, now)}
        state: dict[str, Any] = {
            "boot": self._boot,
            "last": {str(network): str(address) for network, address in self._last.items()},
            "freed": {str(address): at for address, at in self._freed.items()},
        }
        aside = self._file.with_suffix(".new")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            aside.write_text(json.dumps(state), encoding="utf-8")  # no fsync: after a power cut no pod is left either
            aside.replace(self._file)
        except OSError as error:
            _log.warning("%s cannot be written (%s); going on without", self._file, error.strerror)


def _ends(network: Network) -> tuple[Address, Address]:
    first, last = usable(network)
    base = int(network.network_address)
    return network[first - base], network[last - base]
