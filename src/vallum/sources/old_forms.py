"""Manifests as they were written in 2016, put into the form of networking.k8s.io/v1, with a note for each change.

extensions/v1beta1 policies, protocols in lower case, and the annotation that isolates a namespace (also as Romana
spelled it). What they meant is decided in `policy.legacy`; until Kubernetes 1.6 the API said of `from` and `ports`
that an empty list matches nothing, where v1 says that it matches everything.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from vallum.model.objects import PROTOCOLS
from vallum.sources.marks import Findings, Value
from vallum.sources.schema import fields_of
from vallum.sources.syntax import cut

OLD_API = "extensions/v1beta1"
POLICY_API = "networking.k8s.io/v1"
ANNOTATIONS = ("net.beta.kubernetes.io/network-policy", "net.beta.kubernetes.io/networkpolicy")
"""As Kubernetes spelled it, and as Romana did."""

_DENY = "DefaultDeny"
_EXAMPLE = '{"ingress": {"isolation": "DefaultDeny"}}'
_Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Note:
    """What was done with something that is right but old. `str()` is one line with its place."""

    place: str
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


def protocol(text: str) -> str | None:
    """A check as for v1, but in any case of letters."""
    if text.upper() in PROTOCOLS:
        return None
    return f"`{cut(text)}` is not known here; write {', '.join(PROTOCOLS)}, in any case of letters"


def check_annotations(namespace: Value, path: str, findings: Findings) -> None:
    """The text of an isolating annotation is JSON of one shape."""
    meta = fields_of(fields_of(namespace)["metadata"])
    annotations = fields_of(meta["annotations"]) if "annotations" in meta else {}
    for name in ANNOTATIONS:
        value = annotations.get(name)
        problem = _problem(str(value.data)) if value else None
        if value and problem:
            findings.wrong(value.spot, f"{path}metadata.annotations.{name}: {problem}; write {_EXAMPLE}")


def _problem(text: str) -> str | None:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return f"`{cut(text, 40)}` is no JSON"
    ingress = data.get("ingress") if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(ingress, dict | None):
        return f"`{cut(text, 40)}` does not say what is isolated"
    others = sorted({*data} - {"ingress"} | {*(ingress or {})} - {"isolation"})
    if others:
        return f"`{cut(others[0], 40)}` is not known here"
    if ((ingress or {}).get("isolation") or _DENY) != _DENY:
        return f"the only isolation is {_DENY}, for ingress"
    return None


def isolated(namespace: _Body) -> bool | None:
    """Whether the annotation of a checked Namespace isolates it; None where it has none."""
    annotations = namespace["metadata"].get("annotations") or {}
    texts = [annotations[name] for name in ANNOTATIONS if annotations.get(name) is not None]
    if not texts:
        return None
    return any((json.loads(text).get("ingress") or {}).get("isolation") for text in texts)


def without_annotation(namespace: _Body) -> _Body:
    """The Namespace without the annotation."""
    meta = namespace["metadata"]
    rest = {key: text for key, text in (meta.get("annotations") or {}).items() if key not in ANNOTATIONS}
    others = {key: value for key, value in meta.items() if key != "annotations"}
    return namespace | {"metadata": others | ({"annotations": rest} if rest else {})}


def is_old(body: _Body) -> bool:
    """Reports whether this is a policy in its old form."""
    return bool(body["apiVersion"] == OLD_API and body["kind"] == "NetworkPolicy")


def in_v1(policy: _Body, *, of_2016: bool) -> _Body:
    """An old policy as a v1 manifest; `of_2016`: rules with an empty list, which matched nothing, are left out."""
    spec = policy.get("spec") or {}
    changed = {side: _rules(spec[side], of_2016=of_2016) for side in ("ingress", "egress") if spec.get(side)}
    head = {"apiVersion": POLICY_API, "kind": "NetworkPolicy"}
    rest = {key: value for key, value in policy.items() if key not in head}
    return head | rest | ({"spec": spec | changed} if changed else {})


def _rules(rules: list[_Body], *, of_2016: bool) -> list[_Body]:
    kept = [rule for rule in rules if not (of_2016 and _empty(rule))]
    return [rule | {"ports": [_port(port) for port in rule["ports"]]} if rule.get("ports") else rule for rule in kept]


def _empty(rule: _Body) -> bool:
    return any(rule.get(key) == [] for key in ("from", "ports"))


def _port(port: _Body) -> _Body:
    return port | {"protocol": port["protocol"].upper()} if port.get("protocol") else port


def unsaid_in_2016(policy: _Body) -> str | None:
    """What this policy says that the API of 2016 could not, None if nothing."""
    spec = policy.get("spec") or {}
    for key in ("policyTypes", "egress"):
        if spec.get(key) is not None:
            return f"spec.{key}"
    for index, rule in enumerate(spec.get("ingress") or []):
        for number, peer in enumerate(rule.get("from") or []):
            if peer.get("ipBlock") is not None:
                return f"spec.ingress[{index}].from[{number}].ipBlock"
            if peer.get("podSelector") is not None and peer.get("namespaceSelector") is not None:
                return f"spec.ingress[{index}].from[{number}]: podSelector beside namespaceSelector"
        for number, port in enumerate(rule.get("ports") or []):
            if port.get("endPort") is not None:
                return f"spec.ingress[{index}].ports[{number}].endPort"
    return None


def changes(policy: _Body, *, of_2016: bool) -> Iterator[str]:
    """What `in_v1` does to this policy, in words."""
    yield f"{OLD_API} is read as {POLICY_API}"
    rules = [*((policy.get("spec") or {}).get("ingress") or []), *((policy.get("spec") or {}).get("egress") or [])]
    small = {port.get("protocol") or "" for rule in rules for port in rule.get("ports") or []} - {*PROTOCOLS, ""}
    yield from (f"protocol {word} as {word.upper()}" for word in sorted(small))
    empty = sum(_empty(rule) for rule in rules) if of_2016 else 0
    if empty:
        yield f"{empty} of its rules left out, whose empty list matched nothing in 2016"
