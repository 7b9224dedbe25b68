"""One changed fact, as a value: a label, a port, a protocol, an address. What it reads like, and the world with it.

A step changes the world or the question, never a policy. Which steps would help is found in `near`.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, NamedTuple

from vallum.analysis.probe import Probe
from vallum.model.address import Address
from vallum.model.objects import PROTOCOL_NAMES, NamedPort, PodId
from vallum.model.packet import PORTED
from vallum.model.selector import Labels, labels
from vallum.model.snapshot import Snapshot

Question = tuple[Snapshot, Probe]


class Label(NamedTuple):
    """A label of a pod is set, or removed where `value` is None. `value` "" is any value, as for Exists."""

    pod: PodId
    key: str
    value: str | None

    def __str__(self) -> str:
        return _label_text("label", self.key, self.value, str(self.pod))

    @property
    def fact(self) -> tuple[str, ...]:
        """What it changes: two steps for one fact exclude each other."""
        return ("label", str(self.pod), self.key)

    def facts(self) -> dict[str, Any]:
        """As plain data."""
        return {"kind": "label", "pod": str(self.pod), "key": self.key, "value": self.value}

    def apply(self, question: Question) -> Question:
        """The world after it."""
        snapshot, probe = question
        pod = snapshot.pods[self.pod]
        changed = replace(pod, labels=_labelled(pod.labels, self.key, self.value))
        return replace(snapshot, pods=snapshot.pods.changed({self.pod: changed})), probe


class NamespaceLabel(NamedTuple):
    """A label of a namespace is set or removed."""

    namespace: str
    key: str
    value: str | None

    def __str__(self) -> str:
        return _label_text("namespace label", self.key, self.value, self.namespace)

    @property
    def fact(self) -> tuple[str, ...]:
        """What it changes."""
        return ("namespace label", self.namespace, self.key)

    def facts(self) -> dict[str, Any]:
        """As plain data."""
        return {"kind": "namespace-label", "namespace": self.namespace, "key": self.key, "value": self.value}

    def apply(self, question: Question) -> Question:
        """The world after it."""
        snapshot, probe = question
        space = snapshot.namespaces[self.namespace]
        changed = replace(space, labels=_labelled(space.labels, self.key, self.value))
        return replace(snapshot, namespaces={**snapshot.namespaces, self.namespace: changed}), probe


class Port(NamedTuple):
    """Another port is asked: one of `first` to `last`, of which `number` is nearest. `name`: what the rule calls it."""

    first: int
    last: int
    number: int
    asked: int
    name: str = ""

    def __str__(self) -> str:
        span = str(self.first) if self.first == self.last else f"{self.first}-{self.last}"
        named = f" ({self.name})" if self.name else ""
        return f"port {span}{named}, asked {self.asked or 'none'}"

    @property
    def fact(self) -> tuple[str, ...]:
        """What it changes."""
        return ("port",)

    def facts(self) -> dict[str, Any]:
        """As plain data."""
        return {"kind": "port", "first": self.first, "last": self.last, "asked": self.asked or None}

    def apply(self, question: Question) -> Question:
        """The question after it."""
        snapshot, probe = question
        return snapshot, replace(probe, port=self.number)


class Protocol(NamedTuple):
    """Another protocol is asked."""

    protocol: int
    asked: int

    def __str__(self) -> str:
        return f"protocol {_protocol(self.protocol)}, asked {_protocol(self.asked)}"

    @property
    def fact(self) -> tuple[str, ...]:
        """What it changes."""
        return ("protocol",)

    def facts(self) -> dict[str, Any]:
        """As plain data."""
        return {"kind": "protocol", "protocol": _protocol(self.protocol), "asked": _protocol(self.asked)}

    def apply(self, question: Question) -> Question:
        """The question after it."""
        snapshot, probe = question
        port = probe.port if self.protocol in PORTED else 0
        return snapshot, replace(probe, protocol=self.protocol, port=port, icmp_type=None)


class PortName(NamedTuple):
    """The pod gives the asked port the name that the rule asks for."""

    pod: PodId
    port: NamedPort

    def __str__(self) -> str:
        return f"port {self.port.number}/{_protocol(self.port.protocol)} named {self.port.name} on {self.pod}"

    @property
    def fact(self) -> tuple[str, ...]:
        """What it changes."""
        return ("port name", str(self.pod), self.port.name, str(self.port.protocol))

    def facts(self) -> dict[str, Any]:
        """As plain data."""
        protocol = _protocol(self.port.protocol)
        return {
            "kind": "port-name",
            "pod": str(self.pod),
            "name": self.port.name,
            "port": self.port.number,
            "protocol": protocol,
        }

    def apply(self, question: Question) -> Question:
        """The world after it."""
        snapshot, probe = question
        pod = snapshot.pods[self.pod]
        changed = replace(pod, ports=tuple(sorted({*pod.ports, self.port})))
        return replace(snapshot, pods=snapshot.pods.changed({self.pod: changed})), probe


class Inside(NamedTuple):
    """An end has an address inside of a block; `address` is one. `pod` None: the end is no pod but an address."""

    end: str
    pod: PodId | None
    block: str
    address: Address
    asked: str

    def __str__(self) -> str:
        return f"address inside {self.block} ({self.asked} is not)"

    @property
    def fact(self) -> tuple[str, ...]:
        """What it changes."""
        return ("address", self.end)

    def facts(self) -> dict[str, Any]:
        """As plain data."""
        return {"kind": "address", "end": self.end, "block": self.block, "asked": self.asked}

    def apply(self, question: Question) -> Question:
        """The world or the question after it."""
        snapshot, probe = question
        if self.pod is None:
            here = str(self.address)
            if probe.source_end == self.end:
                return snapshot, replace(probe, source_end=here)
            return snapshot, replace(probe, target_end=here)
        pod = snapshot.pods[self.pod]
        kept = (one for one in pod.addresses if one.version != self.address.version)
        changed = replace(pod, addresses=(self.address, *kept))
        return replace(snapshot, pods=snapshot.pods.changed({self.pod: changed})), probe


Step = Label | NamespaceLabel | Port | Protocol | PortName | Inside


def apply(steps: Iterable[Step], snapshot: Snapshot, probe: Probe) -> Question:
    """The world and the question after all of these steps."""
    question = snapshot, probe
    for step in steps:
        question = step.apply(question)
    return question


def _labelled(before: Labels, key: str, value: str | None) -> Labels:
    kept = {name: text for name, text in before if name != key}
    return labels(kept if value is None else kept | {key: value})


def _label_text(kind: str, key: str, value: str | None, where: str) -> str:
    if value is None:
        return f"no {kind} {key} on {where}"
    return f"{kind} {key}={value} on {where}" if value else f"{kind} {key} on {where}"


def _protocol(number: int) -> str:
    return PROTOCOL_NAMES.get(number, str(number))
