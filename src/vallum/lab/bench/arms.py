"""Who shoots at starting pods and who may: the world of `bench podstart`, and what a pod's ear must not hear. Pure.

Two kinds of pods, each with a policy: one admits friends only, the other foes only. So each shooter is allowed by one
half of the pods and denied by the other, and an address that passes from one kind to the other turns both around.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

from vallum.lab.kube import pods
from vallum.lab.kube.client import Manifest
from vallum.model.address import Address, Network

SPACE = "field"
FRIEND, FOE = "friend", "foe"
ADMITS = {"guarded": FRIEND, "reversed": FOE}
"""Kind of pod -> the role that it admits."""
WITNESS = "witness"
"""Stands on the other node and admits guarded pods only: it hears whose permissions an address brings along."""


@dataclass(frozen=True, slots=True)
class Hit:
    """What one pod heard of the shooters. `first`: when the first allowed packet came."""

    allowed: int
    leaked: int
    first: float | None


def world(nodes: Iterable[str]) -> list[Manifest]:
    """Namespace, policies, a friend and a foe on each node, and the witness on the last."""
    names = list(nodes)
    policies = [_policy(kind, {"kind": kind}, {"role": role}) for kind, role in ADMITS.items()]
    policies.append(_policy(WITNESS, {"app": WITNESS}, {"kind": "guarded"}))
    shooters = [_pod(f"{role}-{name}", name, {"role": role}) for name in names for role in (FRIEND, FOE)]
    return [pods.namespace(SPACE), *policies, *shooters, _pod(WITNESS, names[-1], {})]


def starting(name: str, kind: str, node: str) -> Manifest:
    """A pod that is bound to a node whose kubelet does not run: we are its runtime."""
    made = _pod(name, None, {"kind": kind})
    made["spec"] |= {"nodeName": node, "automountServiceAccountToken": False}
    return made


def by_kubelet(name: str, kind: str, node: str) -> Manifest:
    """A pod that a kubelet starts."""
    return _pod(name, node, {"kind": kind})


def hit(kind: str, heard: Iterable[tuple[float, Address]], roles: Mapping[Address, str]) -> Hit:
    """Sort what an ear heard: packets of shooters by whether this kind admits them; others do not count."""
    allowed: list[float] = []
    leaked = 0
    for moment, source in heard:
        role = roles.get(source)
        if role is not None and role == ADMITS.get(kind):
            allowed.append(moment)
        elif role is not None:
            leaked += 1
    return Hit(len(allowed), leaked, min(allowed, default=None))


def ahead(network: Network, last: Address, count: int) -> list[Address]:
    """The addresses that come next in a range that is given out in a round."""
    low = int(network.network_address) + 2
    high = int(network.broadcast_address) - (1 if network.version == 4 else 0)
    size = high - low + 1
    return [ip_address(low + (int(last) - low + step) % size) for step in range(1, count + 1)]


def smaller(network: Network) -> Network:
    """The start of a range, so small that its addresses come back at once; IPv6 stays."""
    return ip_network(f"{network.network_address}/28") if network.version == 4 else network


def _pod(name: str, node: str | None, labels: dict[str, str]) -> Manifest:
    tolerant: dict[str, Any] = {"tolerations": [{"operator": "Exists"}]}
    return pods.pod(name, ["TCP/80"], space=SPACE, node=node, labels=labels, spec=tolerant)


def _policy(name: str, selector: dict[str, str], peer: dict[str, str]) -> Manifest:
    rule = {"from": [{"podSelector": {"matchLabels": peer}}]}
    spec = {"podSelector": {"matchLabels": selector}, "policyTypes": ["Ingress"], "ingress": [rule]}
    metadata = {"name": name, "namespace": SPACE}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}
