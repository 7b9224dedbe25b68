"""What is written: documents that need no change as they stand, old ones in v1, Romana's own policies imported.

That the meaning stays is tested in test_modern.py.
"""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from vallum.analysis.probe import parse
from vallum.analysis.verdicts import Verdicts
from vallum.model.errors import InputErrors
from vallum.sources.convert import Converted, convert
from vallum.sources.folder import read_world, snapshot
from vallum.sources.marks import Findings, plain
from vallum.sources.write import stream, yaml_of
from vallum.sources.yaml_text import documents

BAD = Path(__file__).parents[1] / "cases" / "bad"
PLAIN = """\
# a pod, and why
apiVersion: v1
kind: Pod
metadata: {name: web,   namespace: shop} # as I like it
"""
SECRET = "kind: Secret\napiVersion: v1\nmetadata: {name: s}\nstringData: {'yes': no, b: &b 'y', c: *b}\n"
OLD = "apiVersion: extensions/v1beta1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: shop}\n"
SPACE = 'metadata:\n  name: shop\n  annotations: {%s: \'{"ingress": {"isolation": "DefaultDeny"}}\'%s}\n'
KEY = "net.beta.kubernetes.io/network-policy"


def written(tmp_path: Path, text: str, api: str | None = None, name: str = "a.yaml") -> Converted:
    (tmp_path / name).write_text(text, encoding="utf-8")
    return convert(str(tmp_path), api)


def specs(found: Converted) -> dict[str, Any]:
    return {f"{body['metadata']['namespace']}/{body['metadata']['name']}": body.get("spec") for body in found.bodies}


def test_documents_that_need_no_change_stay_as_they_stand(tmp_path: Path):
    text = f"{PLAIN}---\n{SECRET}"
    found = written(tmp_path, f"%YAML 1.1\n---\n{text}...\n---\n# only a comment\n---\n{OLD}")
    assert found.texts[:2] == (PLAIN, SECRET)
    assert yaml.safe_load(found.texts[2])["apiVersion"] == "networking.k8s.io/v1"
    assert len(found.texts) == 3


def test_a_comment_above_the_first_marker_stays_with_the_document_below(tmp_path: Path):
    assert written(tmp_path, f"# licence\n---\n{PLAIN}").texts == (f"# licence\n{PLAIN}",)


def test_an_old_policy_keeps_everything_but_its_version_and_the_case_of_its_protocols(tmp_path: Path):
    spec = (
        "spec: {podSelector: {matchLabels: {a: 'y'}}, ingress: [{ports: [{protocol: tcp, port: 80}, {port: web}]}]}\n"
    )
    (body,) = written(tmp_path, OLD.replace("{name", "{labels: {b: 'on'}, name") + spec).bodies
    assert body == {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"labels": {"b": "on"}, "name": "p", "namespace": "shop"},
        "spec": {
            "podSelector": {"matchLabels": {"a": "y"}},
            "ingress": [{"ports": [{"protocol": "TCP", "port": 80}, {"port": "web"}]}],
        },
    }


@pytest.mark.parametrize(("more", "left"), [("", None), (", ticket: '12'", {"ticket": "12"})])
def test_the_annotation_goes_and_a_policy_comes_in_its_place(tmp_path: Path, more: str, left: Any):
    found = written(tmp_path, "apiVersion: v1\nkind: Namespace\n" + SPACE % (KEY, more))
    namespace, denial = found.bodies
    assert namespace["metadata"].get("annotations") == left
    assert (denial["metadata"], denial["spec"]["podSelector"]) == ({"namespace": "shop", "name": "default-deny"}, {})
    text = "namespace shop is isolated by its annotation; the policy shop/default-deny stands for it"
    assert [str(note) for note in found.notes] == [f"{tmp_path}/a.yaml:1:1: {text}"]


def test_lists_and_typed_lists_keep_the_items_that_need_no_change(tmp_path: Path):
    items = f"items:\n- {SPACE % (KEY, '')}".replace("\n  ", "\n    ").replace("- metadata:\n", "- metadata:\n")
    text = f"apiVersion: v1\nkind: NamespaceList\n{items}- metadata: {{name: other}}\n"
    (body,) = written(tmp_path, text).bodies
    kinds = [(item["apiVersion"], item["kind"], item["metadata"]["name"]) for item in body["items"]]
    assert (body["apiVersion"], body["kind"]) == ("v1", "List")
    assert kinds == [
        ("v1", "Namespace", "shop"),
        ("networking.k8s.io/v1", "NetworkPolicy", "default-deny"),
        ("v1", "Namespace", "other"),
    ]


def test_a_list_that_needs_no_change_stays_and_a_policy_without_effect_leaves_an_empty_one(tmp_path: Path):
    stays = "apiVersion: v1\nkind: List\nitems: []  # empty\n"
    goes = "---\napiVersion: extensions/v1beta1\nkind: NetworkPolicyList\nitems:\n- metadata: {name: p}\n"
    found = written(tmp_path, stays + goes, "2016")
    assert found.texts[0] == stays
    assert found.bodies[1]["items"] == []


def test_json_is_written_as_yaml_and_reads_the_same(tmp_path: Path):
    text = (
        '{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "annotations": {"a": "\\ud83d\\ude00\\u0007"}}}'
    )
    (found,) = written(tmp_path, text, name="a.json").texts
    assert yaml.safe_load(found)["metadata"]["annotations"] == {"a": "\U0001f600\a"}


@given(st.dictionaries(st.text(max_size=6), st.text(max_size=6) | st.integers() | st.booleans() | st.none()))
def test_what_is_written_is_read_back_as_it_was(body: dict[str, Any]):
    findings = Findings("a.yaml")
    (value,) = documents(stream([yaml_of({"data": body})]), findings)
    assert (plain(value), findings.errors) == ({"data": body}, [])


@pytest.mark.parametrize(
    "word", ["y", "N", "on", "1e3", "0o7", "1_0", "0x1", ".5", "~", "<<", "=", "2020-01-01", "1:30", ""]
)
def test_words_that_a_reader_could_take_for_something_else_are_quoted(word: str):
    (value,) = documents(yaml_of({"word": [word]}), Findings("a"))
    assert plain(value) == {"word": [word]}


# Romana's own policies

ROMANA = """\
{"id": "Pol 1", "direction": "ingress", "description": "frontend to backend", "applied_to": [%s],
 "ingress": [{"peers": [%s], "rules": [%s]},
             {"peers": [{"tenant_id": "b"}], "rules": [{"protocol": "udp", "ports": [9]}]}]}
"""
TARGET, PEER, RULE = (
    '{"tenant_id": "a", "segment_id": "s"}',
    '{"tenant_id": "a", "segment_id": "t"}',
    '{"protocol": "tcp"}',
)
PODS = "".join(
    f"---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {space}, labels: {{{labels}}}}}\n"
    for space in "ab"
    for name, labels in (
        ("s", "romana.io/segment: s"),
        ("t", "romana.io/segment: t"),
        ("d", "romana.io/segment: default"),
        ("none", ""),
    )
)


def passing(tmp_path: Path, policy: str) -> set[str]:
    """Which of SOURCE TARGET PORT/PROTOCOL pass in the world that the policy is written as."""
    (tmp_path / "romana.json").write_text(policy, encoding="utf-8")
    found = written(tmp_path, PODS, name="pods.yaml")
    new = tmp_path / "new.yaml"
    new.write_text(stream(found.texts), encoding="utf-8")
    verdicts = Verdicts(snapshot(read_world(new)))
    ends = [f"{space}/{name}" for space in "ab" for name in ("s", "t", "d", "none")]
    services = [{"port": 80}, {"port": 85}, {"protocol": "UDP", "port": 9}, {"protocol": "ICMP"}]
    return {
        f"{source} {target} {service.get('port', 'ICMP')}"
        for source in ends
        for target in ends
        for service in services
        if source != target and target.startswith("a/")
        if verdicts.verdict(parse({"from": source, "to": target} | service)).allow
    }


def test_each_clause_stands_for_itself_and_what_nobody_admits_is_shut(tmp_path: Path):
    policy = ROMANA % (TARGET, PEER, '{"protocol": "tcp", "ports": [80]}')
    assert passing(tmp_path, policy) == {"a/t a/s 80", "b/s a/s 9", "b/t a/s 9", "b/d a/s 9", "b/none a/s 9"}


def test_a_pod_without_the_label_is_in_the_default_segment_as_target_and_as_peer(tmp_path: Path):
    default = '{"tenant_id": "a", "segment_id": "default"}'
    policy = ROMANA % (default, default, '{"protocol": "tcp", "ports": [80]}')
    assert {each for each in passing(tmp_path, policy) if each.endswith("80")} == {"a/d a/none 80", "a/none a/d 80"}


@pytest.mark.parametrize(
    ("rules", "services"),
    [
        ('{"protocol": "any"}', {"80", "85", "9", "ICMP"}),
        ('{"protocol": "tcp"}', {"80", "85"}),
        ('{"protocol": "tcp", "ports": [], "port_ranges": [[0, 65535]]}', {"80", "85"}),
        ('{"protocol": "tcp", "port_ranges": [[81, 90]]}', {"85"}),
        ('{"protocol": "tcp", "ports": [80]}, {"protocol": "udp"}', {"80", "9"}),
        ('{"protocol": "tcp", "ports": [80]}, {"protocol": "any"}', {"80", "85", "9", "ICMP"}),
        ("", set()),
    ],
)
def test_rules_are_ports_ranges_protocols_or_everything(tmp_path: Path, rules: str, services: set[str]):
    found = passing(tmp_path, ROMANA % (TARGET, PEER, rules))
    assert {each.split()[2] for each in found if each.startswith("a/t a/s")} == services


def test_any_peer_is_every_source_and_a_cidr_is_a_block(tmp_path: Path):
    rule = '{"protocol": "tcp", "ports": [80]}'
    assert "b/none a/s 80" in passing(tmp_path, ROMANA % (TARGET, '{"peer": "any"}, {"cidr": "10.0.0.0/8"}', rule))
    (tmp_path / "romana.json").write_text(ROMANA % (TARGET, '{"cidr": "10.0.0.0/8"}', rule), encoding="utf-8")
    spec = specs(convert(str(tmp_path / "romana.json")))["a/pol-1"]
    assert spec["ingress"][0]["from"] == [{"ipBlock": {"cidr": "10.0.0.0/8"}}]


def test_the_older_wrapper_with_flat_peers_and_rules_reads_the_same(tmp_path: Path):
    old = (
        '{"securitypolicies": [{"name": "p", "direction": "ingress", "applied_to": [{"tenant": "a", "segment": "s"}],'
        ' "peers": [{"tenant": "a", "segment": "t"}], "rules": [{"protocol": "tcp", "ports": [80]}]}]}'
    )
    assert passing(tmp_path, old) == {"a/t a/s 80"}


def test_names_are_made_fit_and_kept_apart_and_notes_say_what_became_of_each(tmp_path: Path):
    two = ROMANA % ('{"tenant_id": "a"}, {"tenant_id": "a", "segment_id": "s"}', PEER, RULE)
    taken = OLD.replace("extensions/v1beta1", "networking.k8s.io/v1").replace("name: p", "name: pol-1")
    (tmp_path / "b.yaml").write_text(taken.replace("shop", "a"), encoding="utf-8")
    found = written(tmp_path, f"[{two}]", name="a.json")
    assert set(specs(found)) == {"a/pol-1", "a/pol-1-2", "a/pol-1-3", "a/default-deny"}
    assert [str(note) for note in found.notes] == [
        f"{tmp_path}/a.json:1:2: Romana's policy is written as a/pol-1-2, a/pol-1-3",
        f"{tmp_path}/a.json:1:2: Romana dropped what no policy admits; a/default-deny keep it so",
    ]


def test_another_label_of_segments_is_the_users_to_name(tmp_path: Path):
    (tmp_path / "a.json").write_text(ROMANA % (TARGET, PEER, RULE), encoding="utf-8")
    found = specs(convert(str(tmp_path), segment_label="tier"))
    assert found["a/pol-1"]["podSelector"] == {"matchLabels": {"tier": "s"}}


def test_what_v1_cannot_say_is_refused_by_name(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(BAD)
    with pytest.raises(InputErrors) as raised:
        convert("romana-beyond-v1.json")
    assert f"{raised.value}\n" == Path("romana-beyond-v1.expected").read_text()
