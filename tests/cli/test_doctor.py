"""`vallum doctor` as a user types it: a line a finding, its status, and who is asked."""

import json
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from vallum.cli import main

FINDING = {"id": "vxlan-closed", "level": "error", "node": "a", "peer": "b"}
FINDING |= {"text": "UDP port 8472 is closed", "cure": "open it"}
SICK = {"node": "a", "findings": [FINDING], "tried": ["b 10.0.0.2"], "untried": ["node c: nobody knows"]}
WELL = {"node": "a", "findings": [], "tried": ["b 10.0.0.2", "c 10.0.0.3"], "untried": []}


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)


@contextmanager
def agent(path: Path, answer: object) -> Iterator[list[object]]:
    """An agent that gives one answer; what it was asked."""
    asked: list[object] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            client, _ = listener.accept()
            with client:
                asked.append(json.loads(client.recv(1 << 16)))
                client.sendall(json.dumps(answer).encode() + b"\n")

        thread = Thread(target=serve)
        thread.start()
        yield asked
        thread.join()


def typed(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["vallum", "doctor", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_a_finding_is_a_line_with_its_cure_and_ends_with_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with agent(tmp_path / "sock", SICK) as asked:
        assert typed(monkeypatch, "--socket", str(tmp_path / "sock")) == 1
    assert asked == [{"op": "doctor"}]
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        "a: error: UDP port 8472 is closed; open it [vxlan-closed]",
        "a: not tried: node c: nobody knows",
    ]
    assert said.err == "vallum: 1 finding; 1 way between nodes tried\n"


def test_nothing_found_ends_with_0(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with agent(tmp_path / "sock", WELL):
        assert typed(monkeypatch, "--socket", str(tmp_path / "sock")) == 0
    assert capsys.readouterr().err == "vallum: nothing found; 2 ways between nodes tried\n"


def test_json_has_the_same_facts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with agent(tmp_path / "sock", SICK):
        assert typed(monkeypatch, "--socket", str(tmp_path / "sock"), "-o", "json") == 1
    assert json.loads(capsys.readouterr().out) == {"nodes": [SICK]}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--socket", "/nowhere/sock"],
            "/nowhere/sock: no agent answers here (No such file or directory); is one running?",
        ),
        (["--lab", "x", "--socket", "s"], "--lab: a lab has sockets and nodes of its own; leave out --socket and"),
        (["--lab", "none-of-this-name"], "lab none-of-this-name"),
        (["--kubeconfig", "/nowhere/config"], "/nowhere/config"),
    ],
)
def test_nobody_to_ask_is_one_line_and_ends_with_2(
    words: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(monkeypatch, *words) == 2
    err = capsys.readouterr().err
    assert err.startswith("vallum: ")
    assert said in err
    assert err.count("\n") == 1


def test_an_agent_that_cannot_tell_yet_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with agent(tmp_path / "sock", {"error": "nothing is enforced yet; ask again"}):
        assert typed(monkeypatch, "--socket", str(tmp_path / "sock")) == 2
    assert capsys.readouterr().err == "vallum: nothing is enforced yet; ask again\n"


PUBLISHED = {
    "/api/v1/nodes": [{"metadata": {"name": name}} for name in ("a", "b", "c")],
    "/apis/vallum.dev/v1alpha1/nodestates": [
        {"metadata": {"name": "a"}, "status": {"ready": True, "lastError": "", "problems": []}},
        {"metadata": {"name": "b"}, "status": {"ready": True, "problems": ["node a: no route leads to its address x"]}},
    ],
}


class _Cluster(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"items": PUBLISHED[self.path.partition("?")[0]]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Tests are quiet."""


def test_of_a_cluster_it_tells_what_the_agents_published_and_which_are_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Cluster)
    thread = Thread(target=server.serve_forever)
    thread.start()
    place = f"http://127.0.0.1:{server.server_port}"
    config = {
        "apiVersion": "v1", "kind": "Config", "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        "clusters": [{"name": "here", "cluster": {"server": place}}], "users": [{"name": "me", "user": {}}],
    }  # fmt: skip
    (tmp_path / "config").write_text(json.dumps(config))
    try:
        with agent(tmp_path / "sock", WELL):
            here = ("--kubeconfig", str(tmp_path / "config"), "--socket", str(tmp_path / "sock"))
            assert typed(monkeypatch, *here, "-o", "json") == 1
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    told = {each["node"]: each for each in json.loads(capsys.readouterr().out)["nodes"]}
    assert told["a"] == WELL
    assert {node: [each["id"] for each in told[node]["findings"]] for node in "bc"} == {
        "b": ["no-way"],
        "c": ["no-agent"],
    }
    assert told["b"]["untried"] == ["its ways to other nodes; run `vallum doctor` there"]
