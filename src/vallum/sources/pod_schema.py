"""The shape of what runs: pods, the workloads that make them, and Services, which are checked but not read.

Only the fields that are read; every other field of a pod is somebody else's and passes, unless it is nearly
one of these.
"""

from collections.abc import Iterator, Mapping
from ipaddress import ip_address

from vallum.sources.marks import Findings, Value
from vallum.sources.metadata_schema import TEMPLATE_METADATA, metadata
from vallum.sources.policy_schema import PORT_NUMBER, PORT_OR_NAME, PROTOCOL
from vallum.sources.schema import Anything, Flag, ListOf, Record, Schema, Text, fields_of
from vallum.sources.selector_schema import LABELS
from vallum.sources.syntax import address, long_name, one_of, port_name, short_name

_PORTS = ListOf(
    Record(
        {"name": Text(port_name), "containerPort": PORT_NUMBER, "protocol": PROTOCOL},
        required=("containerPort",),
        strict=False,
        others=frozenset({"hostPort"}),
        example="{name: http, containerPort: 8080}",
    )
)
_CONTAINERS = ListOf(
    Record(
        {"name": Text(short_name), "ports": _PORTS, "restartPolicy": Text()},
        strict=False,
        example="{name: web, ports: [{containerPort: 8080}]}",
    )
)


def _port_names(value: Value, path: str, findings: Findings) -> None:
    """One name and protocol, two numbers in one pod: whoever uses the name cannot know which is meant."""
    seen: dict[tuple[object, object], object] = {}
    for port in _listed_ports(value):
        fields = fields_of(port)
        if "name" not in fields:
            continue
        protocol = fields["protocol"].data if "protocol" in fields else "TCP"
        number = fields["containerPort"].data
        first = seen.setdefault((fields["name"].data, protocol), number)
        if first != number:
            name = fields["name"].data
            problem = f"{path}: the port name `{name}` stands for {first} and for {number} in one pod; rename one"
            findings.wrong(fields["name"].spot, problem)


def _listed_ports(spec: Value) -> Iterator[Value]:
    fields = fields_of(spec)
    for group in ("containers", "initContainers"):
        for container in _items(fields.get(group)):
            inner = fields_of(container)
            restarts = inner.get("restartPolicy")
            if group == "containers" or (restarts and restarts.data == "Always"):
                yield from _items(inner.get("ports"))


def _items(value: Value | None) -> tuple[Value, ...]:
    return value.data if value and isinstance(value.data, tuple) else ()


_SPEC = Record(
    {
        "nodeName": Text(long_name),
        "hostNetwork": Flag(),
        "containers": _CONTAINERS,
        "initContainers": _CONTAINERS,
    },
    strict=False,
    others=frozenset({"hostname", "nodeSelector", "ephemeralContainers"}),
    check=_port_names,
)


def _addresses(value: Value, path: str, findings: Findings) -> None:
    fields = fields_of(value)
    listed = [item.data["ip"] for item in _items(fields.get("podIPs")) if isinstance(item.data, Mapping)]
    first = fields.get("podIP")
    if first and listed and ip_address(str(first.data)) != ip_address(str(listed[0].data)):
        problem = f"{path}.podIPs: the first of them is {listed[0].data}, but podIP is {first.data}; make them equal"
        findings.wrong(listed[0].spot, problem)
    families: dict[int, object] = {}
    for item in listed:
        version = ip_address(str(item.data)).version
        if version in families:
            problem = f"{path}.podIPs: {families[version]} and {item.data}; a pod has one address of each family"
            findings.wrong(item.spot, problem)
        families.setdefault(version, item.data)


_STATUS = Record(
    {
        "phase": Text(one_of("Pending", "Running", "Succeeded", "Failed", "Unknown")),
        "podIP": Text(address),
        "podIPs": ListOf(Record({"ip": Text(address)}, required=("ip",), example="{ip: 10.44.1.5}")),
    },
    strict=False,
    others=frozenset({"hostIP", "hostIPs"}),
    check=_addresses,
)

POD = Record(
    {"metadata": metadata(long_name, namespaced=True), "spec": _SPEC, "status": _STATUS},
    required=("metadata",),
    strict=False,
)

_TEMPLATE = Record(
    {"metadata": TEMPLATE_METADATA, "spec": _SPEC},
    strict=False,
    example="{metadata: {labels: {app: web}}, spec: {...}}",
)


def _workload(spec: Record) -> Record:
    fields: dict[str, Schema] = {"metadata": metadata(long_name, namespaced=True), "spec": spec, "status": Anything()}
    return Record(fields, required=("metadata", "spec"), strict=False)


_TEMPLATED = Record({"template": _TEMPLATE}, required=("template",), strict=False)

WORKLOAD = _workload(_TEMPLATED)

CRON_JOB = _workload(
    Record(
        {"jobTemplate": Record({"spec": _TEMPLATED, "metadata": Anything()}, required=("spec",), strict=False)},
        required=("jobTemplate",),
        strict=False,
    )
)

SERVICE = Record(
    {
        "metadata": metadata(short_name, namespaced=True),
        "spec": Record(
            {
                "selector": LABELS,
                "ports": ListOf(
                    Record(
                        {
                            "name": Text(short_name),
                            "port": PORT_NUMBER,
                            "targetPort": PORT_OR_NAME,
                            "protocol": PROTOCOL,
                        },
                        required=("port",),
                        strict=False,
                        others=frozenset({"nodePort"}),
                        example="{port: 80, targetPort: http}",
                    )
                ),
            },
            strict=False,
        ),
    },
    required=("metadata",),
    strict=False,
)
