"""Where findings are written: block and flow style, lists, JSON, templates of workloads, several documents a file."""

from pathlib import Path

import pytest

from vallum.analysis.lint.finding import Path as Steps
from vallum.model.snapshot import Key
from vallum.sources.places import Places, read

POLICY: Key = ("Policy", "shop", "web")
TEXT = """\
apiVersion: v1
kind: Namespace
metadata: {name: shop}
--- # the policy
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: web
  namespace: shop
spec:
  podSelector:
    matchLabels:
      app: web
    matchExpressions:
      - key: tier
        operator: Exists
  ingress:
    - from:
        - podSelector: {}
        - ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}
      ports: [{port: 80}, {port: 81}]
...
"""


def places(folder: Path, name: str, text: str) -> Places:
    (folder / name).write_text(text)
    return Places(read(str(folder)))


@pytest.mark.parametrize(
    ("path", "line", "column"),
    [
        ((), 5, 1),
        (("metadata", "name"), 8, 9),
        (("spec", "podSelector"), 11, 3),
        (("spec", "podSelector", "app"), 13, 7),
        (("spec", "podSelector", "tier"), 15, 9),
        (("spec", "ingress", 0), 18, 7),
        (("spec", "ingress", 0, "from", 1, "ipBlock", "cidr"), 20, 27),
        (("spec", "ingress", 0, "from", 1, "ipBlock", "except", 0), 20, 48),
        (("spec", "ingress", 0, "ports", 1), 21, 27),
        (("spec", "policyTypes"), 10, 1),
        (("spec", "ingress", 7, "from"), 17, 3),
    ],
)
def test_a_path_leads_to_its_line_and_column_or_the_nearest_above(
    path: Steps, line: int, column: int, tmp_path: Path
) -> None:
    found = places(tmp_path, "world.yaml", TEXT).of(POLICY, path)
    assert (found.line, found.column) == (line, column)


def test_an_object_on_the_line_of_its_marker_is_found(tmp_path: Path) -> None:
    text = "".join(f"--- {{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}}}\n" for name in "ab")
    found = places(tmp_path, "flow.yaml", text).of(("Pod", "default", "b"), ("metadata", "name"))
    assert (found.line, found.column) == (2, 50)


def test_a_policy_that_stands_for_an_annotation_is_written_at_its_namespace(tmp_path: Path) -> None:
    note = 'net.beta.kubernetes.io/network-policy: \'{"ingress": {"isolation": "DefaultDeny"}}\''
    text = f"# of 2016\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n  annotations:\n    {note}\n"
    found = places(tmp_path, "old.yaml", text).of(("Policy", "shop", "default-deny"), ("spec", "podSelector"))
    assert found.line == 2


def test_two_objects_of_one_name_are_an_error_and_one_stays(tmp_path: Path) -> None:
    text = TEXT + "---\n" + TEXT.partition("the policy\n")[2].removesuffix("...\n")
    (tmp_path / "twice.yaml").write_text(text)
    reading = read(str(tmp_path))
    assert ["was declared before" in str(error) for error in reading.errors] == [True]
    assert len(reading.world.documents) == 2


def test_comments_hold_for_their_line_the_next_or_the_document(tmp_path: Path) -> None:
    text = TEXT.replace("app: web", "app: web  # vallum: ignore one a").replace(
        "  ingress:\n", "  # vallum: ignore two b c\n\n  # more\n  ingress:\n"
    )
    text = text.replace("--- # the policy\n", "---\n# vallum: ignore three d\n")
    found = [(one.rule, one.reason, one.first, one.last) for one in places(tmp_path, "w.yaml", text).comments()]
    assert found == [("three", "d", 6, 25), ("one", "a", 14, 14), ("two", "b c", 21, 21)]
