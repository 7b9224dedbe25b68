"""The shape of metadata (metav1.ObjectMeta): what is read of it, and the names of what is not."""

from vallum.sources.marks import Findings, Value
from vallum.sources.schema import Anything, Flag, ListOf, MapOf, Record, Schema, Text, fields_of
from vallum.sources.selector_schema import LABELS
from vallum.sources.syntax import Check, annotation_key, long_name, short_name, time

_OWNERS = ListOf(
    Record(
        {"kind": Text(), "name": Text(long_name), "controller": Flag()},
        required=("kind", "name"),
        strict=False,
        others=frozenset({"uid"}),
        example="{kind: ReplicaSet, name: web-5d4f8c7b9}",
    )
)
_UNREAD = (
    "generateName",
    "uid",
    "resourceVersion",
    "generation",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "finalizers",
    "managedFields",
    "selfLink",
)


def metadata(name: Check, *, namespaced: bool, strict: bool = False, annotations: Schema | None = None) -> Record:
    """Metadata of an object: its name's syntax, whether it lives in a namespace, whether all fields are checked."""
    fields: dict[str, Schema] = {
        "name": Text(name),
        "namespace": Text(short_name),
        "labels": LABELS,
        "annotations": annotations or (MapOf(annotation_key, Text()) if strict else Anything()),
        "creationTimestamp": Text(time),
        "ownerReferences": _OWNERS,
        **dict.fromkeys(_UNREAD, Anything()),
    }
    check = _named if namespaced else _cluster_wide
    return Record(fields, strict=strict, example="{name: web, namespace: shop}", check=check)


TEMPLATE_METADATA = Record(
    {"labels": LABELS, "name": Anything(), "namespace": Anything(), "annotations": Anything()},
    strict=False,
    example="{labels: {app: web}}",
)


def _named(value: Value, path: str, findings: Findings) -> None:
    fields = fields_of(value)
    if "name" in fields:
        return
    cure = "; generateName is not read, a world needs names that stay" if "generateName" in fields else ""
    findings.wrong(value.spot, f"{path}: `name` is missing{cure}")


def _cluster_wide(value: Value, path: str, findings: Findings) -> None:
    _named(value, path, findings)
    if "namespace" in fields_of(value):
        findings.wrong(value.keys["namespace"], f"{path}.namespace: this kind lives in no namespace; remove it")
