"""The lab's commands as a user types them: one lab in the background, entered, probed, changed, ended."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from inside import need_sandbox

SHOP = Path(__file__).parents[2] / "examples" / "shop"
TOPOLOGY = SHOP.parent / "topologies" / "shop.yaml"
pytestmark = pytest.mark.packets


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Typed"]:
    need_sandbox()
    typed = Typed(f"test-{os.getpid()}", tmp_path_factory.mktemp("run"))
    try:
        started = typed("up", "-f", str(SHOP))
        assert started.returncode == 0, started.stderr
        yield typed
    finally:
        typed("down")


class Typed:
    """Runs `vallum lab COMMAND --name ...`."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self._env = os.environ | {"XDG_RUNTIME_DIR": str(folder)}

    def __call__(self, command: str, *words: str, text: str = "") -> "subprocess.CompletedProcess[str]":
        line = [sys.executable, "-m", "vallum", "lab", command, "--name", self.name, *words]
        return subprocess.run(line, input=text, capture_output=True, text=True, env=self._env, timeout=60, check=False)


def test_a_second_up_of_the_same_name_is_refused(lab: Typed):
    again = lab("up")
    assert again.returncode == 2
    assert again.stderr.startswith(f"vallum: lab {lab.name}: it is up already")


def test_exec_runs_in_the_pods_namespace_and_keeps_the_exit_status(lab: Typed):
    shown = lab("exec", "shop/web", "--", "cat", "/proc/net/fib_trie")
    assert "10.44.1.10" in shown.stdout
    assert lab("exec", "shop/web", "--", "sh", "-c", "exit 7").returncode == 7
    assert lab("exec", "shop/web", "--", "no-such-command").returncode == 127
    assert "the lab runs no shop/nobody; there are" in lab("exec", "shop/nobody", "--", "true").stderr


def test_probe_answers_line_by_line_and_tells_packets_from_expectation(lab: Typed):
    lines = [
        {"id": 1, "from": "shop/api", "to": "data/db", "port": 5432, "note": "kept"},
        {"id": 2, "from": "guest/outsider", "to": "data/db", "port": 5432},
        {"id": 3, "from": "203.0.113.70", "to": "shop/web", "port": 8080},
        {"id": 4, "from": "shop/api", "to": "data/db", "port": 5432, "source": "10.44.9.9"},
        {"id": 5, "from": "shop/api", "to": "data/db", "port": 5432, "family": 6, "source": "fd44:0:0:9::9"},
    ]
    ended = lab("probe", text="".join(json.dumps(line) + "\n" for line in lines))
    answers = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [(a["id"], a["verdict"], a["expected"]) for a in answers] == [
        (1, "allow", "allow"),
        (2, "deny", "deny"),
        (3, "deny", "deny"),
        (4, "deny", "deny"),
        (5, "deny", "deny"),
    ]
    assert answers[0]["note"] == "kept"
    assert "data/default-deny" in answers[1]["proof"]
    assert answers[3]["egress"]["why"]["kind"] == "spoofed"
    assert ended.returncode == 0


def test_a_probe_that_names_nothing_known_is_an_error_and_the_others_are_answered(lab: Typed):
    unknown = json.dumps({"id": 1, "from": "a/b", "to": "c/d", "port": 1})
    fine = json.dumps({"id": 2, "from": "shop/api", "to": "data/db", "port": 5432})
    ended = lab("probe", text=f"{unknown}\nnot json\n{fine}\n")
    first, second, third = (json.loads(line) for line in ended.stdout.splitlines())
    assert first == {"id": 1, "error": "there is no pod a/b"}
    assert second["error"].startswith("line 2: not a JSON object")
    assert third["verdict"] == "allow"
    assert ended.returncode == 1


def test_apply_replaces_the_world_and_a_world_with_errors_changes_nothing(lab: Typed, tmp_path: Path):
    for file in SHOP.iterdir():
        (tmp_path / file.name).write_text(file.read_text())
    (tmp_path / "policies.yaml").unlink()
    asked = json.dumps({"from": "guest/outsider", "to": "data/db", "port": 5432})
    assert "enforced on every node" in lab("apply", "-f", str(tmp_path)).stdout
    assert json.loads(lab("probe", text=asked).stdout)["verdict"] == "allow"
    (tmp_path / "policies.yaml").write_text("kind: NetworkPolcy\n")
    wrong = lab("apply", "-f", str(tmp_path))
    assert wrong.returncode == 2
    assert "policies.yaml:1:" in wrong.stderr
    assert json.loads(lab("probe", text=asked).stdout)["verdict"] == "allow"
    assert lab("apply", "-f", str(SHOP)).returncode == 0
    assert json.loads(lab("probe", text=asked).stdout)["verdict"] == "deny"


def vallum(lab: Typed, *words: str) -> "subprocess.CompletedProcess[str]":
    """A command beside the agents of the lab, which asks the one of node1."""
    socket = ("--socket", "/run/vallum-lab/node1.sock")
    return lab("exec", "shop/web", "--", sys.executable, "-m", "vallum", words[0], "--node", *socket, *words[1:])


def test_questions_are_answered_about_what_a_live_agent_enforces(lab: Typed):
    why = vallum(lab, "explain", "shop/web", "shop/api", "9999", "-o", "json")
    assert why.returncode == 1, why.stderr
    told = json.loads(why.stdout)
    status = json.loads(lab("status", "-o", "json").stdout)["nodes"][0]
    assert told["revision"] == status["revision"]
    assert [step["text"] for step in told["proposal"]] == ["port 8000 (http on shop/api), asked 9999"]
    nobody = vallum(lab, "explain", "shop/nobody", "shop/api", "1")
    assert (nobody.returncode, nobody.stderr) == (2, "vallum: there is no pod shop/nobody\n")
    reached = json.loads(vallum(lab, "matrix", "--to", "data/db", "--port", "5432", "-o", "json").stdout)
    assert {"from": "shop/api", "to": "data/db", "reaches": "yes"} in reached["connections"]


def test_what_a_folder_would_change_on_a_live_node_is_told_before_it_is_applied(lab: Typed, tmp_path: Path):
    for file in SHOP.iterdir():
        (tmp_path / file.name).write_text(file.read_text().replace("port: 5432", "port: 5433"))
    told = json.loads(vallum(lab, "diff", str(tmp_path), "-o", "json").stdout)
    assert [(one["from"], one["to"], one["all"]) for one in told["opened"] if one["to"].startswith("data/")] == [
        ("shop/api", "data/db", ["5433/TCP"])
    ]


def test_status_shows_every_node_healthy(lab: Typed):
    told = json.loads(lab("status", "-o", "json").stdout)
    assert [node["node"] for node in told["nodes"]] == ["node1", "node2"]
    assert all(node["healthy"] for node in told["nodes"])


@pytest.fixture(scope="module")
def centre(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Typed"]:
    need_sandbox()
    typed = Typed(f"test-{os.getpid()}-racks", tmp_path_factory.mktemp("run"))
    try:
        started = typed("up", "-f", str(SHOP), "--topology", str(TOPOLOGY))
        assert started.returncode == 0, started.stderr
        assert str(ledger_of(typed)) in started.stdout
        yield typed
    finally:
        typed("down")
        assert not ledger_of(typed).parent.exists()


def ledger_of(lab: Typed) -> Path:
    base = Path("/run") if os.geteuid() == 0 else lab.folder
    return base / "vallum" / "lab" / lab.name / "ledger"


def test_a_topology_gives_racks_routers_and_a_ledger_that_goes_with_the_lab(centre: Typed):
    told = json.loads(centre("status", "-o", "json").stdout)
    assert [(row["group"], row["router"], row["ranges"], list(row["nodes"])) for row in told["groups"]] == [
        ("r1", "router:r1", ["10.44.1.0/24", "fd44:0:0:1::/64"], ["node1"]),
        ("r2", "router:r2", ["10.44.2.0/24", "fd44:0:0:2::/64"], ["node2"]),
    ]
    assert "r1     router:r1  10.44.1.0/24, fd44:0:0:1::/64  node1" in centre("status").stdout
    routes = centre("exec", "router:r1", "--", "cat", "/proc/net/fib_trie").stdout
    assert "10.44.1.0" in routes
    line = [
        sys.executable,
        "-m",
        "vallum",
        "ipam",
        "show",
        "--ledger",
        str(ledger_of(centre)),
        "10.44.1.10",
        "-o",
        "json",
    ]
    shown = subprocess.run(line, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(shown.stdout)["owner"] == "shop/web"


def test_packets_cross_the_racks_and_policies_hold_there(centre: Typed):
    lines = [
        {"from": "shop/api", "to": "data/db", "port": 5432, "family": 4},
        {"from": "shop/api", "to": "data/db", "port": 5432, "family": 6},
        {"from": "guest/outsider", "to": "data/db", "port": 5432},
        {"from": "203.0.113.10", "to": "shop/web", "port": 8080},
    ]
    ended = centre("probe", text="".join(json.dumps(line) + "\n" for line in lines))
    assert [json.loads(line)["verdict"] for line in ended.stdout.splitlines()] == ["allow", "allow", "deny", "allow"]
    assert ended.returncode == 0


def test_an_address_that_fits_no_group_is_told_and_changes_nothing(centre: Typed, tmp_path: Path):
    (tmp_path / "pod.yaml").write_text(
        "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {nodeName: node1}, status: {podIP: 10.44.2.9}}"
    )
    ended = centre("apply", "-f", str(tmp_path))
    cure = "10.44.2.9 is not to be had on this host; ask for one of 10.44.1.0/24; or leave podIPs out"
    assert (ended.returncode, ended.stderr) == (2, f"vallum: Pod default/a status.podIPs on node1: {cure}\n")
    assert len(json.loads(centre("status", "-o", "json").stdout)["pods"]) == 9
