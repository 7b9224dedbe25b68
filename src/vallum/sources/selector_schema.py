"""The shape of labels and label selectors (metav1.LabelSelector), with the operators' own rules."""

from vallum.model.selector import Operator
from vallum.sources.marks import Findings, Value
from vallum.sources.schema import ListOf, MapOf, Record, Text, fields_of
from vallum.sources.syntax import label_key, label_value, one_of


def _requirement(value: Value, path: str, findings: Findings) -> None:
    fields = fields_of(value)
    operator = fields["operator"].data
    values = fields.get("values")
    count = len(values.data) if values and isinstance(values.data, tuple) else 0
    if operator in (Operator.IN, Operator.NOT_IN) and not count:
        at = values or fields["operator"]
        findings.wrong(at.spot, f"{path}.values: {operator} needs at least one value, such as `values: [web]`")
    if operator in (Operator.EXISTS, Operator.DOES_NOT_EXIST) and values and count:
        findings.wrong(values.spot, f"{path}.values: {operator} asks for the key alone; remove the values")


LABELS = MapOf(label_key, Text(label_value))

SELECTOR = Record(
    {
        "matchLabels": LABELS,
        "matchExpressions": ListOf(
            Record(
                {
                    "key": Text(label_key),
                    "operator": Text(one_of(*Operator)),
                    "values": ListOf(Text(label_value)),
                },
                required=("key", "operator"),
                example="{key: app, operator: In, values: [web]}",
                check=_requirement,
            )
        ),
    },
    example="{matchLabels: {app: web}}",
    hint="labels stand one level deeper, under `matchLabels:`",
)
