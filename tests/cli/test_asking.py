"""explain, matrix and diff as a user types them: output in every form, exit status, and a line for what is wrong."""

import csv
import io
import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from vallum.cli import main

SHOP = str(Path(__file__).parents[2] / "examples" / "shop")


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> "Typed":
    return Typed(capsys, monkeypatch)


class Typed:
    """Runs `vallum WORDS`: status, what it printed, and what it said on stderr."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys, self._monkeypatch = capsys, monkeypatch

    def __call__(self, *words: str) -> tuple[int, str, str]:
        self._monkeypatch.setattr(sys, "argv", ["vallum", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        said = self._capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err


def test_explain_says_what_would_have_to_change_and_ends_with_the_verdict(typed: Typed):
    status, out, _ = typed("explain", "-f", SHOP, "shop/web", "shop/api", "9999")
    assert status == 1
    assert "nearest: shop/api-from-web ingress[0], which lacks port 8000 (http on shop/api), asked 9999" in out
    assert out.endswith("  it would pass with: port 8000 (http on shop/api), asked 9999\n")
    assert typed("explain", "-f", SHOP, "shop/web", "shop/api", "8000")[0] == 0


def test_explain_as_json_has_the_same_facts(typed: Typed):
    _, out, _ = typed("explain", "-f", SHOP, "guest/outsider", "data/db", "5432", "-o", "json")
    told = json.loads(out)
    assert told["verdict"] == "deny"
    near = told["ingress"]["why"]["near"]
    assert (near["policy"], near["rule"]) == ("data/orders", 0)
    assert near["steps"] == told["proposal"]
    assert [step["kind"] for step in told["proposal"]] == ["label", "namespace-label"]


def test_the_matrix_says_who_reaches_whom_in_each_form(typed: Typed):
    _, out, _ = typed("matrix", "-f", SHOP, "-o", "json")
    told = json.loads(out)
    assert {"from": "shop/web", "to": "shop/api", "all": ["8000/TCP"], "some": []} in told["connections"]
    _, out, _ = typed("matrix", "-f", SHOP, "-o", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert {(row["from"], row["to"]): row["all"] for row in rows} == {
        (one["from"], one["to"]): " ".join(one["all"]) for one in told["connections"]
    }
    _, out, _ = typed("matrix", "-f", SHOP)
    assert re.search(r"^shop/web +8000/TCP +shop/api *$", out, re.MULTILINE)
    assert "by pod, because no pod belongs to a workload; a pod reaches itself" in out


TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|->|[{}\[\]=;,]|\w+')


def edges(text: str) -> set[tuple[str, str, str]]:
    """The edges of a digraph with their labels, by the grammar of the DOT language; fails where it does not parse."""
    assert not TOKEN.sub("", text).split(), "only tokens of DOT"
    head, body = text.split("{", 1)
    assert head.split() == ["digraph", "matrix"]
    word = r'(?:"(?:[^"\\]|\\.)*"|\w+)'
    attributes = rf"(?:\[{word}={word}(?:, {word}={word})*\])?"
    statement = re.compile(rf"(?:{word}={word}|({word})(?: -> ({word}))? ?({attributes}));")
    found = set()
    for line in body.strip().removesuffix("}").splitlines():
        for piece in re.split(r"(?<=;) ", line.strip()):
            if piece:
                match = statement.fullmatch(piece)
                assert match, piece
                if match[2]:
                    label = re.search(r'label="([^"]*)"', match[3])
                    found.add((match[1].strip('"'), match[2].strip('"'), label[1] if label else ""))
    return found


def test_the_graph_has_an_edge_for_every_connection(typed: Typed):
    for more in ((), ("--by", "namespace"), ("--port", "8080")):
        _, out, _ = typed("matrix", "-f", SHOP, "-o", "dot", *more)
        _, listed, _ = typed("matrix", "-f", SHOP, "-o", "json", *more)
        connections = json.loads(listed)["connections"]
        assert connections
        assert {(one, other) for one, other, _ in edges(out)} == {(one["from"], one["to"]) for one in connections}


def test_a_port_makes_it_yes_some_and_no(typed: Typed):
    _, out, _ = typed("matrix", "-f", SHOP, "--by", "namespace", "--port", "5432/tcp", "--to", "data", "-o", "json")
    reached = {one["from"]: one["reaches"] for one in json.loads(out)["connections"]}
    assert reached == {"shop": "some", "node node1": "some"}


def test_rows_are_named_by_pod_range_or_an_address_inside(typed: Typed):
    _, out, _ = typed("matrix", "-f", SHOP, "--from", "203.0.113.77", "--from", "192.0.2.1", "-o", "json")
    sources = {one["from"] for one in json.loads(out)["connections"]}
    assert sources == {"outside 203.0.113.64/26", "anywhere else"}


def test_a_namespace_keeps_its_connections_only(typed: Typed):
    _, out, _ = typed("matrix", "-f", SHOP, "--namespace", "data", "-o", "json")
    assert all("data/" in one["from"] + one["to"] for one in json.loads(out)["connections"])


def test_workloads_stand_for_their_pods(typed: Typed, tmp_path: Path):
    (tmp_path / "w.yaml").write_text(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: a}\n"
        "spec: {template: {metadata: {labels: {app: web}}}}\n---\n"
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: api-5d4f-x1\n  namespace: a\n"
        "  labels: {pod-template-hash: 5d4f}\n"
        "  ownerReferences: [{kind: ReplicaSet, name: api-5d4f, apiVersion: apps/v1, uid: x, controller: true}]\n"
    )
    _, out, _ = typed("matrix", "-f", str(tmp_path))
    assert "a/Deployment/web" in re.sub(r"\s+", " ", out).replace("/ ", "/")
    _, out, _ = typed("matrix", "-f", str(tmp_path), "-o", "json")
    assert [party["name"] for party in json.loads(out)["parties"]][:2] == ["a/Deployment/api", "a/Deployment/web"]


@pytest.fixture
def edited(tmp_path: Path) -> str:
    """The shop with another port for orders."""
    folder = tmp_path / "shop"
    shutil.copytree(SHOP, folder)
    file = folder / "policies.yaml"
    file.write_text(file.read_text().replace("port: 5432", "port: 5433"))
    return str(folder)


def test_diff_lists_connections_with_the_policies_responsible(typed: Typed, edited: str):
    status, out, _ = typed("diff", SHOP, edited)
    assert status == 1
    opened, _, closed = out.partition("CLOSED")
    assert re.search(r"^shop/api +data/db +5433/TCP +data/orders ingress\[0\] allows it", opened, re.MULTILINE)
    assert re.search(
        r"^shop/api +data/db +5432/TCP +data/orders ingress\[0\] no longer allows it", closed, re.MULTILINE
    )


def test_diff_as_json_has_the_same_facts(typed: Typed, edited: str):
    _, out, _ = typed("diff", SHOP, edited, "-o", "json")
    told = json.loads(out)
    assert [(one["from"], one["to"], one["all"]) for one in told["opened"]] == [("shop/api", "data/db", ["5433/TCP"])]
    assert (told["new"], told["gone"]) == ([], [])


def test_worlds_that_mean_the_same_do_not_differ(typed: Typed):
    assert typed("diff", SHOP, SHOP)[:2] == (0, "no connection differs\n")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ("explain", "a/b", "c/d"),
            "no world is named; give -f DIR, or --node for what the agent of this node enforces",
        ),
        (
            ("matrix", "-f", SHOP, "--node"),
            "both a folder and a node are named; give -f DIR, or --node for what the agent of this node enforces",
        ),
        (("diff", SHOP), "diff: OLD and NEW are named, or --node and NEW; got 1 path"),
        (("diff", SHOP, SHOP, "--node"), "diff: beside --node only NEW is named; got 2 paths"),
        (("diff", "-", "-"), "diff: standard input can be one of the two worlds only"),
        (("matrix", "-f", SHOP, "--port", "http"), "--port: PORT or PORT/PROTO, such as 5432 or 53/UDP; got 'http'"),
        (
            ("matrix", "-f", SHOP, "--port", "1/ICMP"),
            "--port: PORT or PORT/PROTO, such as 5432 or 53/UDP; got '1/ICMP'",
        ),
        (
            ("matrix", "-f", SHOP, "--to", "shop/nobody"),
            (
                "--to: there is no row, pod or address 'shop/nobody'; rows are data/cache, data/db, guest/outsider, "
                "kube-system/dns, monitoring/metrics, shop/api ..."
            ),
        ),
        (
            ("matrix", "--socket", "/no/such.sock"),
            "/no/such.sock: no agent answers here (No such file or directory); is one running?",
        ),
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_one_line(typed: Typed, words: tuple[str, ...], line: str):
    assert typed(*words) == (2, "", f"vallum: {line}\n")
