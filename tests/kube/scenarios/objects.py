"""A state as Kubernetes objects: what the cluster is given, and the same world with invented addresses for the judge.

Ignores what is expected of it. The test image's commands stand here and nowhere else.
"""

import json
import re
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import Any

from kube.scenarios.scenario import NODES, Facts, Service, State
from vallum.lab.kube import images

SERVES = ("TCP/80", "TCP/81", "UDP/80", "UDP/81", "SCTP/80")
Manifest = dict[str, Any]
Addresses = Mapping[str, str]

_LONGEST_NAME = 63
_PLACE = re.compile(r"\$\{([^}]+)\}")


def namespace(name: str, labels: Mapping[str, str]) -> Manifest:
    """A namespace with these labels."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": dict(labels)}}


def policy(name: str, spec: Facts, addresses: Addresses) -> Manifest:
    """A policy with its places filled. Raises KeyError for an address that nobody has."""
    filled = json.loads(_PLACE.sub(lambda found: addresses[found[1]], json.dumps(spec)))
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(name),
        "spec": filled,
    }


def pod(name: str, facts: Facts) -> Manifest:
    """A pod that serves what the facts say, bound to its node. Its host name tells it from those of its name."""
    sidecars = [_container(own, each) | {"restartPolicy": "Always"} for own, each in facts.get("sidecars", {}).items()]
    early = [_container(own, each, ["true"]) for own, each in facts.get("init", {}).items()]
    over = ["true"] if facts.get("finished") else None
    containers = [_container(own, each or {}, over) for own, each in facts["containers"].items()]
    spec: Manifest = {
        "nodeName": facts["node"],
        "hostname": hostname(name),
        "initContainers": [*early, *sidecars],
        "containers": containers,
        "terminationGracePeriodSeconds": facts.get("grace", 0),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "tolerations": [{"operator": "Exists"}],
    }
    if facts.get("finished"):
        spec["restartPolicy"] = "Never"
    else:
        containers[0]["readinessProbe"] = {"tcpSocket": {"port": 80}, "periodSeconds": 1}
    if facts.get("host"):
        spec |= {"hostNetwork": True, "dnsPolicy": "Default"}
    named = metadata(name) | {"labels": facts["labels"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": named, "spec": spec}


def hostname(name: str) -> str:
    """What a pod answers with: its namespace and name, as much of the end as a host name holds."""
    return name.replace("/", "-")[-_LONGEST_NAME:].lstrip("-")


def service(facts: Service) -> Manifest:
    """A Service of both families."""
    ports = [
        {"name": name, **each} | ({"nodePort": facts.node_port} if facts.node_port else {})
        for name, each in facts.ports.items()
    ]
    kind = "NodePort" if facts.node_port else "ClusterIP"
    spec = {"type": kind, "ipFamilyPolicy": "PreferDualStack", "selector": facts.selector, "ports": ports}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata(facts.name), "spec": spec}


def metadata(name: str) -> Manifest:
    """As it stands in an object."""
    space, _, own = name.partition("/")
    return {"namespace": space, "name": own}


def _container(name: str, facts: Facts, command: list[str] | None = None) -> Manifest:
    declared = [_port(text) for text in facts.get("ports", ())]
    return {
        "name": name,
        "image": images.PROBE,
        "imagePullPolicy": "Never",
        "args": command or ["stay" if facts.get("stay") else "serve", *facts.get("serve", SERVES)],
        "ports": declared,
    }


def _port(text: str) -> Manifest:
    name, _, kind = text.partition(" ")
    number, _, protocol = kind.partition("/")
    return {"name": name, "containerPort": int(number), "protocol": protocol}


# the world without a cluster


def invented(state: State) -> dict[str, str]:
    """Addresses for all that a policy can name, as a cluster would give them."""
    found: dict[str, str] = {}
    for number, node in enumerate(NODES, start=1):
        found |= {f"{node}.ip": f"172.20.0.1{number}", f"{node}.ip6": f"fd00:172:20::1{number}"}
        found |= {f"{node}.pods": f"10.244.{number}.0/24", f"{node}.pods6": f"fd10:244:0:{number}::/64"}
    for number, (name, facts) in enumerate(state.pods.items(), start=10):
        node = NODES.index(facts["node"]) + 1
        found |= {f"{name}.ip": f"10.244.{node}.{number}", f"{name}.ip6": f"fd10:244:0:{node}::{number:x}"}
        if facts.get("host"):
            found |= {f"{name}.ip": found[f"{facts['node']}.ip"], f"{name}.ip6": found[f"{facts['node']}.ip6"]}
    for number, name in enumerate(("x/s", "y/s", "z/n"), start=10):
        found |= {f"svc:{name}.ip": f"10.96.0.{number}", f"svc:{name}.ip6": f"fd10:96::{number:x}"}
    assert all(ip_address(text) for text in found.values() if "/" not in text)
    return found


def world(state: State, addresses: Addresses) -> Iterator[Manifest]:
    """The state as the API server shows it, where everybody has these addresses."""
    for node in NODES:
        yield _node(node, addresses)
    yield from (namespace(name, labels) for name, labels in state.namespaces.items())
    for name, facts in state.pods.items():
        held = [addresses[key] for key in (f"{name}.ip", f"{name}.ip6") if key in addresses]
        status = {
            "phase": "Succeeded" if facts.get("finished") else "Running",
            "podIPs": [{"ip": each} for each in held],
        }
        yield pod(name, facts) | {"status": status | ({"podIP": held[0]} if held else {})}
    yield from (policy(name, spec, addresses) for name, spec in state.policies.items())


def _node(name: str, addresses: Addresses) -> Manifest:
    held = [{"type": "InternalIP", "address": addresses[f"{name}.{kind}"]} for kind in ("ip", "ip6")]
    ranges = [addresses[f"{name}.pods"], addresses[f"{name}.pods6"]]
    spec = {"podCIDR": ranges[0], "podCIDRs": ranges}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": spec, "status": {"addresses": held}}
