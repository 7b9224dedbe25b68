"""`vallum convert` and `--api` as a user meets them: streams, status, formats."""

import json
import subprocess
import sys
from pathlib import Path

import yaml

OLD = """\
apiVersion: extensions/v1beta1
kind: NetworkPolicy
metadata: {name: pol1}
spec:
  podSelector: {matchLabels: {role: backend}}
  ingress:
    - from: [{podSelector: {matchLabels: {role: frontend}}}]
      ports: [{protocol: tcp, port: 80}]
"""
POD = "---\napiVersion: v1\nkind: Pod\nmetadata: {name: %s, labels: {role: %s}}\n"


def run(*words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "vallum", *words], input=given, capture_output=True, text=True, check=False
    )


def test_manifests_go_to_stdout_and_notes_with_file_and_line_to_stderr(tmp_path: Path):
    (tmp_path / "a.yaml").write_text(OLD)
    ended = run("convert", str(tmp_path))
    assert ended.returncode == 0
    assert yaml.safe_load(ended.stdout)["spec"]["ingress"][0]["ports"] == [{"protocol": "TCP", "port": 80}]
    assert ended.stderr.startswith(f"vallum: {tmp_path}/a.yaml:1:1: policy default/pol1: extensions/v1beta1 is read as")


def test_standard_input_is_read_and_json_is_one_list(tmp_path: Path):
    ended = run("convert", "-o", "json", "-", given=OLD + POD % ("a", "backend"))
    data = json.loads(ended.stdout)
    assert (data["apiVersion"], data["kind"]) == ("v1", "List")
    assert [item["kind"] for item in data["items"]] == ["NetworkPolicy", "Pod"]
    (tmp_path / "new.json").write_text(ended.stdout)
    assert run("convert", "-o", "json", str(tmp_path)).stdout == ended.stdout


def test_a_world_with_errors_writes_nothing():
    ended = run("convert", "-", given=OLD.replace("tcp", "icmp"))
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "stdin:8:26: spec.ingress[0].ports[0].protocol: `icmp` is not known here" in ended.stderr


def test_judge_reads_old_policies_in_either_meaning(tmp_path: Path):
    (tmp_path / "a.yaml").write_text(OLD + POD % ("b", "backend") + POD % ("c", "other"))
    probe = '{"from": "default/c", "to": "default/b", "port": 80}\n'
    now, then = (
        run("judge", "-f", str(tmp_path), given=probe),
        run("judge", "-f", str(tmp_path), "--api", "2016", given=probe),
    )
    assert (json.loads(now.stdout)["verdict"], json.loads(then.stdout)["verdict"]) == ("deny", "allow")
    assert "in the meaning of v1" in now.stderr
    assert "policy default/pol1 is left out" in then.stderr
