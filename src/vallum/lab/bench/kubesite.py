"""What the benches of a real cluster share: the cluster in its sandbox, a fast way to the API, pods' namespaces.

The cluster is the one of the tests (lab.kube), with our agent as the only CNI. What it ignores: what is measured.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http import client as http
from pathlib import Path
from typing import Any, TypeVar

from vallum.kernel import netns
from vallum.kernel.rtnetlink import Rtnetlink
from vallum.lab.bench.inside import in_sandbox
from vallum.lab.kube import background, binaries, box
from vallum.lab.kube.client import Api, ApiError, Manifest
from vallum.lab.kube.cluster import KubeCluster, KubeSettings
from vallum.lab.kube.layout import NodeLayout
from vallum.model.address import Address, pack
from vallum.model.errors import KernelError

Result = TypeVar("Result")

JSON, MERGE = "application/json", "application/merge-patch+json"
_LINES = 6
"""Connections by which many objects are made at once: more make a small machine no faster."""
_NETNS = "containerd-state/io.containerd.grpc.v1.cri/netns"


def in_cluster(work: Callable[[KubeCluster], Result], kind: type[Result]) -> Result:
    """What `work` returns, called with a cluster of two nodes that is up, in a sandbox of its own.

    Raises InputError where no cluster can run, with the cure, KernelError when it does not come up.
    """
    box.check()
    built = binaries.build()
    try:
        return in_sandbox(lambda: _with(KubeCluster(KubeSettings(), built), work), kind, Path("/"), box.spawn)
    finally:
        background.remove_groups()


def _with(cluster: KubeCluster, work: Callable[[KubeCluster], Result]) -> Result:
    try:
        cluster.up()
        return work(cluster)
    finally:
        cluster.down()


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API said, and when it was asked and had answered (time.monotonic)."""

    body: Manifest
    asked: float
    answered: float


class Line:
    """One connection to the API that stays open. Not for use by two threads at once."""

    def __init__(self, api: Api) -> None:
        self._connection = api.connection()

    def send(self, method: str, path: str, body: object = None, kind: str = JSON) -> Answer:
        """One exchange. It has answered when the head of the answer is there. Raises ApiError, OSError."""
        sent = None if body is None else json.dumps(body)
        asked = time.monotonic()
        self._connection.request(method, path, sent, {"Content-Type": kind, "Accept": JSON})
        response = self._connection.getresponse()
        answered = time.monotonic()
        text = response.read()
        if response.status >= http.BAD_REQUEST:
            raise ApiError(f"{method} {path}", response.status, text.decode(errors="replace")[:400])
        return Answer(json.loads(text), asked, answered)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


@dataclass(frozen=True, slots=True)
class Request:
    """One request of many; see Line.send."""

    method: str
    path: str
    body: Any = None
    kind: str = JSON


def send_all(api: Api, requests: Sequence[Request]) -> None:
    """All of them by several connections, in any order. Raises ApiError."""
    with ThreadPoolExecutor(_LINES) as pool:
        for done in [pool.submit(_send_part, api, requests[start::_LINES]) for start in range(_LINES)]:
            done.result()


def _send_part(api: Api, requests: Sequence[Request]) -> None:
    line = Line(api)
    try:
        for each in requests:
            line.send(each.method, each.path, each.body, each.kind)
    finally:
        line.close()


def namespaces_of(node: NodeLayout) -> Path:
    """The folder in which the node's container runtime has the network namespaces of pods."""
    return node.folder / _NETNS


def file_of(node: NodeLayout, address: Address) -> Path:
    """The file of the network namespace that the runtime gave the pod of this address. Raises KernelError."""
    for file in namespaces_of(node).iterdir():
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if _has(descriptor, address):
                return file
        finally:
            os.close(descriptor)
    raise KernelError(f"no container on {node.name} has the address {address}")


@contextmanager
def inside_of(node: NodeLayout, address: Address) -> Iterator[int]:
    """A descriptor of the network namespace that a container runtime gave the pod of this address."""
    descriptor = os.open(file_of(node, address), os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _has(descriptor: int, address: Address) -> bool:
    with netns.entered(descriptor), Rtnetlink() as inside:
        return pack(address) in inside.local_addresses()
