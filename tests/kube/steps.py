"""Steps that tests of a cluster's life share: policies known to be held, pods' wires for counted packets, who answers.

Nothing here waits by time. A policy is held when every agent's own socket names its revision.
"""

import http.client
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from traffic import Count, Flow
from vallum.agent.ask import ask
from vallum.kernel import netns
from vallum.lab.kube import pods
from vallum.lab.kube.agents import socket_of
from vallum.lab.kube.client import Manifest
from vallum.lab.kube.cluster import KubeCluster
from vallum.lab.kube.component import Component, until

HELD = 30.0
PATIENCE = 60.0
FIREWALL = "networking.k8s.io/v1"
Rule = dict[str, Any]
Target = dict[str, Any]


def policy(
    name: str,
    space: str,
    selects: dict[str, str] | None = None,
    ingress: list[Rule] | None = None,
    egress: list[Rule] | None = None,
) -> Manifest:
    """A NetworkPolicy. A direction that is None is left open by it; an empty list allows nothing."""
    sides = {"ingress": ingress, "egress": egress}
    spec: Manifest = {"podSelector": {"matchLabels": selects or {}}}
    spec["policyTypes"] = [side.capitalize() for side, rules in sides.items() if rules is not None]
    spec |= {side: rules for side, rules in sides.items() if rules is not None}
    metadata = {"name": name, "namespace": space}
    return {"apiVersion": FIREWALL, "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}


def pods_with(**labels: str) -> Rule:
    """A peer: pods of the policy's own namespace with these labels."""
    return {"podSelector": {"matchLabels": labels}}


def block(address: object) -> Rule:
    """A peer: one address."""
    return {"ipBlock": {"cidr": f"{address}/{128 if ':' in str(address) else 32}"}}


def port(number: int, protocol: str = "TCP") -> Rule:
    """A port of a rule."""
    return {"port": number, "protocol": protocol}


def addresses(pod: Manifest) -> list[str]:
    """A pod's, IPv4 first."""
    return [each["ip"] for each in pod["status"]["podIPs"]]


def status(kube: KubeCluster, node: str) -> dict[str, Any]:
    """What the agent of a node says of itself, nothing when it does not answer."""
    place = next(each for each in kube.layouts if each.name == node)
    with suppress(OSError, ValueError):
        return ask(socket_of(place), {"op": "status"}) or {}
    return {}


def hold(kube: KubeCluster, *wanted: Manifest) -> None:
    """Apply policies and return when every agent that runs enforces them."""
    kube.api.apply(wanted)
    held(kube)


def held(kube: KubeCluster, within: float = HELD) -> None:
    """Wait until every agent that runs enforces the newest policy there is."""
    newest = max(int(each["metadata"]["resourceVersion"]) for each in kube.api.list(FIREWALL, "NetworkPolicy"))

    def late() -> list[str]:
        running = [name for name, agent in kube.agents.items() if agent.running]
        return [name for name in running if int(status(kube, name).get("revision") or 0) < newest]

    until(lambda: not late(), within, lambda: f"{late()} do not hold {newest}: {[status(kube, n) for n in late()]}")


def healthy(kube: KubeCluster, node: str, within: float = PATIENCE) -> None:
    """Wait until the agent of a node says that all is well."""
    until(
        lambda: bool(status(kube, node).get("healthy")),
        within,
        lambda: f"{node}: {status(kube, node) or 'does not answer'}; its agent said: {kube.agents[node].said()}",
    )


@contextmanager
def instead(kube: KubeCluster, node: str, other: Component) -> Iterator[Component]:
    """Another agent in the place of a node's usual one, which comes back in the end."""
    usual = kube.agents[node]
    usual.stop()
    kube.agents[node] = other
    other.start()
    try:
        yield other
    finally:
        other.kill()
        kube.agents[node] = usual
        usual.start()
        healthy(kube, node)


@contextmanager
def namespace(kube: KubeCluster, name: str) -> Iterator[str]:
    """A namespace for a test, taken away with all that is in it."""
    kube.api.apply([pods.namespace(name)])
    try:
        yield name
    finally:
        for each in kube.api.list("v1", "Pod", name):
            kube.api.delete("v1", "Pod", each["metadata"]["name"], name, grace=0)
        kube.api.delete("v1", "Namespace", name)
        until(lambda: kube.api.find("v1", "Namespace", name) is None, PATIENCE, lambda: f"{name} does not go")


def targets(address: object, number: int, *protocols: str, timeout: float = 1.5) -> list[Target]:
    """What `KubeCluster.probe` takes."""
    return [{"protocol": each, "address": str(address), "port": number, "timeout": timeout} for each in protocols]


def reached(kube: KubeCluster, pod: Manifest, wanted: Iterable[Target]) -> list[bool]:
    """Whether each target answers. Only silence is a no; anything else that is wrong raises AssertionError."""
    answers = kube.probe(pod, list(wanted))
    odd = [answer for answer in answers if not answer["ok"] and answer.get("error") != "timeout"]
    assert not odd, odd
    return [answer["ok"] for answer in answers]


def eventually_reached(kube: KubeCluster, pod: Manifest, wanted: list[Target]) -> None:
    """Wait until each of them answers: kube-proxy may not have written yet what leads there."""

    def missing() -> list[Target]:
        answers = kube.probe(pod, wanted)
        return [target | answer for target, answer in zip(wanted, answers, strict=True) if not answer["ok"]]

    until(lambda: not missing(), PATIENCE, lambda: f"no answer to {pod['metadata']['name']}: {missing()}")


def from_outside(address: object, number: int, timeout: float = 1.5) -> bool:
    """Whether a TCP server answers the machine beside the nodes, which is where the tests run."""
    try:
        with socket.create_connection((str(address), number), timeout) as connection:
            return bool(connection.recv(1))
    except TimeoutError:
        return False


def wire(pod: Manifest) -> str:
    """The name under which a pod's network namespace can be entered; made on first use."""
    place = netns.FOLDER / f"pod-{pod['metadata']['uid']}"
    if not place.is_symlink():
        place.symlink_to(f"/proc/{next(iter(processes(pod)))}/ns/net")
    return place.name


def processes(pod: Manifest) -> dict[int, str]:
    """The command line of each process in a pod, by its id."""
    found = {}
    for groups in Path("/proc").glob("[0-9]*/cgroup"):
        with suppress(OSError):
            if pod["metadata"]["uid"] in groups.read_text():
                found[int(groups.parent.name)] = (groups.parent / "cmdline").read_bytes().decode().replace("\0", " ")
    return found


def flow(name: str, kind: str, ends: tuple[Manifest, Manifest], number: int) -> Flow:
    """Packets from one pod's namespace into another's, counted at both; of IPv6 where the kind ends in 6."""
    client, server = ((wire(pod), addresses(pod)[kind.endswith("6")]) for pod in ends)
    return Flow(name, kind.removesuffix("6"), client, server, number)


def wrong(counts: dict[str, Count], least: int) -> list[str]:
    """What was lost of the flows, and what leaked of those with `denied` in their names."""
    found = []
    for name, count in counts.items():
        if count.sent < least:
            found.append(f"{name}: only {count.sent} packets sent")
        if "denied" in name:
            found += [f"{name}: {count.at_server} leaked"] * bool(count.at_server)
        elif not count.sent == count.at_server == count.at_client or count.lost or count.refused:
            found.append(f"{name}: {asdict(count)}")
    return found


def health(kube: KubeCluster, node: str, path: str) -> int:
    """The HTTP status of an agent's health page."""
    with kube.on(node):
        connection = http.client.HTTPConnection("127.0.0.1", 9086, timeout=5)
        connection.connect()
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()
