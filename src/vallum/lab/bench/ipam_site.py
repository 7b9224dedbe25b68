"""Ledgers of the sizes that `bench ipam` measures: one network over 3 zones of 20 racks, hosts in all of them.

What it ignores: what is timed.
"""

from pathlib import Path
from typing import Any

from vallum.ipam import Request, blocks, own, place, plan
from vallum.ipam.ledger import Ledger
from vallum.ipam.records import Change
from vallum.ipam.state import State
from vallum.ipam.topology import Layout
from vallum.model.objects import PodId
from vallum.model.selector import Labels, labels

ZONES, RACKS = 3, 20
PER_HOST = 100
"""Addresses in use on each host."""


def layout(cidr: str = "10.0.0.0/8") -> Layout:
    """3 zones of 20 racks over one network."""
    racks = [{"assignment": {"rack": f"r{rack}"}} for rack in range(RACKS)]
    zones = [{"name": f"z{zone}", "assignment": {"zone": f"z{zone}"}, "groups": racks} for zone in range(ZONES)]
    return own.read([_object("Network", {"cidr": cidr}), _object("Topology", {"networks": ["pods"], "map": zones})])


def _object(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": own.API_VERSION, "kind": kind, "metadata": {"name": "pods"}, "spec": spec}


def host(number: int) -> str:
    """Its name."""
    return f"node-{number}"


def labels_of(number: int) -> Labels:
    """Hosts fill zones and racks in turn."""
    return labels({"zone": f"z{number % ZONES}", "rack": f"r{number // ZONES % RACKS}"})


def apply(state: State, change: Change) -> None:
    """Take a change in at once, as a store does."""
    revision = state.revision + 1
    state.apply(change.stamped(revision), revision)


def empty() -> State:
    """The layout, and no host."""
    state = State()
    apply(state, plan.plan(state, layout()).change)
    return state


def settle(state: State, hosts: int) -> None:
    """Place so many hosts, one after the other."""
    for number in range(hosts):
        apply(state, place.join(state, host(number), labels_of(number)))


def request(owner: str) -> Request:
    """Of a pod."""
    return Request(owner, PodId("shop", owner))


def fill(path: Path, live: int) -> None:
    """Write a ledger with so many addresses in use, spread evenly over their hosts."""
    state, hosts = empty(), max(1, live // PER_HOST)
    settle(state, hosts)
    for number in range(live):
        change, _ = blocks.allocate(state, host(number % hosts), request(f"pod-{number}"), 0.0)
        apply(state, change)
    store = Ledger(path)
    store.commit(lambda _: (Change(tuple(state.records())), None))
    store.close()
