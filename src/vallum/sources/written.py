"""What documents say that the Snapshot does not keep: Services, policyTypes as written, labels of workloads.

Read from bodies that the schemas found right. Ignores where in a file anything stands: `places` knows.
"""

from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import Any

from vallum.analysis.lint.written import PolicyText, Service, ServicePort, Workload, Written
from vallum.model.address import Address
from vallum.model.objects import PROTOCOLS, Namespace, ObjectId, Pod, Policy, PolicyId
from vallum.model.selector import Operator, Requirement, Selector, labels
from vallum.sources.manifest import Document
from vallum.sources.old_forms import ANNOTATIONS, is_old
from vallum.sources.world import World

_Body = Mapping[str, Any]


def written(world: World) -> Written:
    """All that rules ask of the documents of a world."""
    policies: dict[PolicyId, PolicyText] = {}
    declared, annotated = set(), []
    for document in world.documents:
        match document.thing:
            case Policy():
                policies[document.thing.id] = _policy(document.body)
            case Namespace():
                declared.add(document.thing.name)
                held = document.body["metadata"].get("annotations") or {}
                annotated += [(document.thing.name, name) for name in ANNOTATIONS if held.get(name) is not None]
            case _:
                pass
    return Written(tuple(_services(world)), tuple(_workloads(world)), frozenset(declared), policies, tuple(annotated))


def _policy(body: dict[str, Any]) -> PolicyText:
    spec = body.get("spec") or {}
    types = spec.get("policyTypes")
    with_rules = frozenset(name for name in ("Ingress", "Egress") if spec.get(name.lower()))
    return PolicyText(tuple(types) if types else None, with_rules, old=is_old(body))


def _services(world: World) -> Iterator[Service]:
    for document in world.documents:
        if document.body["kind"] == "Service":
            spec = document.body.get("spec") or {}
            selector = spec.get("selector")
            yield Service(
                _id(document),
                _selector(selector) if selector else None,
                tuple(_port(port) for port in spec.get("ports") or ()),
                tuple(_addresses(spec)),
            )


def _port(port: _Body) -> ServicePort:
    return ServicePort(PROTOCOLS[port.get("protocol") or "TCP"], port["port"], port.get("targetPort") or port["port"])


def _addresses(spec: _Body) -> Iterator[Address]:
    """Fields of a Service that are not checked may hold anything, `None` among it (headless)."""
    listed = spec.get("clusterIPs") or [spec.get("clusterIP")]
    for text in listed if isinstance(listed, list) else ():
        try:
            yield ip_address(str(text))
        except ValueError:
            continue


def _workloads(world: World) -> Iterator[Workload]:
    for document in world.documents:
        kind, pod = document.body["kind"], document.thing
        if isinstance(pod, Pod) and kind != "Pod":
            meta, spec = document.body["metadata"], document.body["spec"]
            own = labels(meta.get("labels") or {})
            yield Workload(_id(document), kind, own, _stated(kind, spec.get("selector")), pod.labels)


def _stated(kind: str, selector: Any) -> Selector | None:
    """A workload's selector, where it is of the form that its kind has; the schemas do not check it."""
    if not isinstance(selector, dict):
        return None
    wanted = selector if kind == "ReplicationController" else selector.get("matchLabels")
    if not isinstance(wanted, dict) or not wanted:
        return None
    return _selector({str(key): str(value) for key, value in wanted.items()})


def _selector(wanted: Mapping[str, str]) -> Selector:
    return Selector(tuple(sorted(Requirement(key, Operator.IN, (value,)) for key, value in wanted.items())))


def _id(document: Document) -> ObjectId:
    meta = document.body["metadata"]
    return ObjectId(meta.get("namespace") or "default", meta["name"])
