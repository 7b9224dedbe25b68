"""Which kinds a world reads, under which apiVersion, and what each must look like.

A kind that is not in the table is skipped and counted; one that is nearly in it, or in it under an apiVersion
that is not read, is an error: a policy that was skipped in silence would leave open what it closes.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from vallum.sources.cluster_schema import NAMESPACE, NETWORK, NODE
from vallum.sources.marks import Findings, Spot, Value
from vallum.sources.old_forms import OLD_API, POLICY_API
from vallum.sources.pod_schema import CRON_JOB, POD, SERVICE, WORKLOAD
from vallum.sources.policy_schema import OLD_POLICY, POLICY
from vallum.sources.romana_schema import ROMANA, policies_in
from vallum.sources.schema import Record, fields_of
from vallum.sources.syntax import cut, nearest

KINDS: dict[str, tuple[str, Record]] = {
    "Namespace": ("v1", NAMESPACE),
    "Node": ("v1", NODE),
    "Pod": ("v1", POD),
    "Service": ("v1", SERVICE),
    "ReplicationController": ("v1", WORKLOAD),
    "Deployment": ("apps/v1", WORKLOAD),
    "StatefulSet": ("apps/v1", WORKLOAD),
    "DaemonSet": ("apps/v1", WORKLOAD),
    "ReplicaSet": ("apps/v1", WORKLOAD),
    "Job": ("batch/v1", WORKLOAD),
    "CronJob": ("batch/v1", CRON_JOB),
    "NetworkPolicy": (POLICY_API, POLICY),
}
"""Kind -> the apiVersion that is read, and its shape."""

OLD_KINDS: dict[tuple[str, str], Record] = {(OLD_API, "NetworkPolicy"): OLD_POLICY}
"""Forms of another time that are read beside them: (apiVersion, kind) -> shape."""

OWN_KINDS: dict[tuple[str, str], Record] = {("vallum.dev/v1alpha1", "Network"): NETWORK}
"""Kinds of ours; others have kinds of the same name."""

_OURS = frozenset({"", "apps", "batch", "extensions", "policy", "autoscaling"})
_LIST = Record({}, strict=False, example="{apiVersion: v1, kind: Pod}")


@dataclass(frozen=True, slots=True)
class Skipped:
    """A document of a kind that a world does not use."""

    kind: str


@dataclass(frozen=True, slots=True)
class Known:
    """A document of a kind in the table, found right."""

    kind: str
    value: Value


@dataclass(frozen=True, slots=True)
class Foreign:
    """A policy in Romana's own form, found right: only a conversion can use it."""

    value: Value


def unfold(value: Value, findings: Findings) -> Iterator[Known | Skipped | Foreign]:
    """The objects of one document, those of a List one by one. What is wrong is noted and left out."""
    if foreign := policies_in(value):
        yield from (Foreign(policy) for policy in foreign if _fits(policy, ROMANA, findings))
        return
    found = _identity(value, findings)
    if found is None:
        return
    api, kind = found
    singular = kind.removesuffix("List")
    if kind != singular and (not singular or singular in KINDS):
        yield from _items(value, singular, api, findings)
    elif shape := OWN_KINDS.get((api, kind)):
        if _fits(value, shape, findings):
            yield Known(kind, value)
    elif kind not in KINDS:
        yield from _skip(value, api, kind, findings)
    elif (shape := _shape(value, api, kind, findings)) and _fits(value, shape, findings):
        yield Known(kind, value)


def _fits(value: Value, shape: Record, findings: Findings) -> bool:
    before = len(findings.errors)
    shape.inspect(value, "", findings)
    return len(findings.errors) == before


def _identity(value: Value, findings: Findings) -> tuple[str, str] | None:
    before = len(findings.errors)
    _LIST.inspect(value, "", findings)
    if len(findings.errors) > before:
        return None
    fields = fields_of(value)
    for name in ("apiVersion", "kind"):
        if name not in fields:
            near = nearest(name, [key for key in fields if key not in ("metadata", "spec")])
            cure = f"; `{near}` is no field" if near else "; every manifest says what it is"
            findings.wrong(value.spot, f"`{name}` is missing{cure}")
        elif not isinstance(fields[name].data, str) or not fields[name].data:
            example = "v1" if name == "apiVersion" else "Pod"
            findings.wrong(fields[name].spot, f"{name}: must be text, such as {example}")
    if len(findings.errors) > before:
        return None
    return str(fields["apiVersion"].data), str(fields["kind"].data)


def _items(value: Value, singular: str, api: str, findings: Findings) -> Iterator[Known | Skipped | Foreign]:
    fields = fields_of(value)
    items = fields.get("items")
    if items is None:
        if "items" not in value.keys:
            findings.wrong(value.spot, "`items` is missing; a List holds its objects there")
    elif not isinstance(items.data, tuple):
        findings.wrong(items.spot, "items: must be a list; begin each object with `- `")
    else:
        for item in items.data:
            yield from unfold(_typed(item, singular, api) if singular else item, findings)


def _typed(item: Value, kind: str, api: str) -> Value:
    """In a PodList and the like the API leaves kind and apiVersion of the items out."""
    fields = fields_of(item)
    if not fields or "kind" in fields or "apiVersion" in fields:
        return item
    typed = {"apiVersion": Value(api, item.spot, api), "kind": Value(kind, item.spot, kind)}
    return replace(item, data=typed | dict(fields), keys=dict.fromkeys(typed, item.spot) | dict(item.keys))


def _skip(value: Value, api: str, kind: str, findings: Findings) -> Iterator[Skipped]:
    group = api.rpartition("/")[0]
    near = nearest(kind, [*KINDS, "List"])
    if near and (group in _OURS or group.endswith(".k8s.io")):
        spot = fields_of(value)["kind"].spot
        findings.wrong(spot, f"kind: `{cut(kind)}` is not known; did you mean {near}?")
    else:
        yield Skipped(kind)


def _shape(value: Value, api: str, kind: str, findings: Findings) -> Record | None:
    """The shape of this kind under this apiVersion, None where that is not read."""
    wanted, shape = KINDS[kind]
    if api == wanted:
        return shape
    if (api, kind) in OLD_KINDS:
        return OLD_KINDS[api, kind]
    spot: Spot = fields_of(value)["apiVersion"].spot
    findings.wrong(spot, f"apiVersion: {kind} is read as {wanted}, not as `{cut(api)}`")
    return None
