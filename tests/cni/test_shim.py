"""The plugin itself: what it decides without an agent, and that it never hangs, lies or loses a DEL."""

import asyncio
import json
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from vallum.cni.build import shim
from vallum.cni.service import _receive
from vallum.cni.wire import Answer, Call, decode

CONFIG = {"cniVersion": "1.0.0", "name": "vallum", "type": "vallum"}
ENVIRONMENT = {"CNI_CONTAINERID": "c1", "CNI_IFNAME": "eth0", "CNI_NETNS": "/run/netns/none"}


@dataclass(frozen=True, slots=True)
class Shim:
    """The plugin with folders of its own."""

    folder: Path

    @property
    def socket(self) -> Path:
        return self.folder / "s"

    @property
    def queue(self) -> Path:
        return self.folder / "state" / "queue"

    def config(self, **more: Any) -> dict[str, Any]:
        return CONFIG | {"socket": str(self.socket), "queueDir": str(self.queue)} | more

    def run(self, command: str, text: str | bytes | None = None, **environment: str) -> tuple[int, Any]:
        """Exit status and what was printed."""
        given = json.dumps(self.config()) if text is None else text
        stdin = given.encode() if isinstance(given, str) else given
        env = {"CNI_COMMAND": command} | ENVIRONMENT | environment
        done = subprocess.run([shim()], input=stdin, env=env, capture_output=True, timeout=30, check=False)
        return done.returncode, json.loads(done.stdout) if done.stdout else None


@pytest.fixture
def plugin(tmp_path: Path) -> Shim:
    return Shim(tmp_path)


def test_it_is_small_and_needs_nothing_of_the_machine(tmp_path: Path) -> None:
    program = shim(tmp_path)
    assert program.stat().st_size < 100_000
    assert b"libc.so" not in program.read_bytes()
    assert shim(tmp_path) == program


@pytest.mark.parametrize("version", ["0.3.1", "0.4.0", "1.0.0", "1.1.0", "9.9.9"])
def test_it_answers_version_by_itself_in_the_version_asked_in(plugin: Shim, version: str) -> None:
    status, printed = plugin.run("VERSION", json.dumps({"cniVersion": version}))
    assert status == 0
    assert printed == {"cniVersion": version, "supportedVersions": ["0.3.1", "0.4.0", "1.0.0", "1.1.0"]}


@pytest.mark.parametrize(("command", "code"), [("ADD", 11), ("CHECK", 11), ("GC", 11), ("STATUS", 50)])
def test_without_an_agent_it_says_where_it_looked_and_what_to_do(plugin: Shim, command: str, code: int) -> None:
    status, printed = plugin.run(command)
    assert (status, printed["code"], printed["cniVersion"]) == (1, code, "1.0.0")
    cure = "see that it runs on this node and look into its log, then try again"
    where = f"the Vallum agent cannot be reached at {plugin.socket} (no such file or directory); {cure}"
    assert printed["msg"] == where


def test_a_socket_that_nobody_serves_is_an_agent_that_is_away(plugin: Shim) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(plugin.socket))
    assert "(nobody listens there)" in plugin.run("ADD")[1]["msg"]


def test_a_del_without_an_agent_is_queued_whole_and_succeeds(plugin: Shim) -> None:
    for container in ("c1", "c2"):
        assert plugin.run("DEL", CNI_CONTAINERID=container) == (0, None)
    calls = [decode(file.read_bytes()) for file in sorted(plugin.queue.iterdir())]
    assert [call.environment["CNI_CONTAINERID"] for call in calls] == ["c1", "c2"]
    assert {call.environment["CNI_COMMAND"] for call in calls} == {"DEL"}
    assert [json.loads(call.stdin) for call in calls] == [plugin.config()] * 2
    assert all(call.environment["CNI_NETNS"] == ENVIRONMENT["CNI_NETNS"] for call in calls)


def test_a_del_that_cannot_be_queued_is_an_error_to_try_again(plugin: Shim) -> None:
    (plugin.folder / "state").write_text("a file where a folder should be")
    status, printed = plugin.run("DEL")
    assert (status, printed["code"]) == (1, 11)
    assert printed["msg"] == f"the Vallum agent is away, and DEL cannot be queued in {plugin.queue} (not a directory)"


WRONG_INPUT = [
    ("ADD", "", 6, "there is no configuration on standard input"),
    ("DEL", "", 6, "there is no configuration on standard input"),
    ("ADD", "{", 6, "is no JSON object"),
    ("ADD", "[]", 6, "is no JSON object"),
    ("ADD", "{} x", 6, "is no JSON object"),
    ("ADD", '{"a":}', 6, "is no JSON object"),
    ("ADD", '{"a":1,}', 6, "is no JSON object"),
    ("ADD", '{"a":"\n"}', 6, "is no JSON object"),
    ("ADD", '{"a":"\\', 6, "is no JSON object"),
    ("ADD", '{"a":' + "[" * 500 + "]" * 500 + "}", 6, "is no JSON object"),
    ("ADD", b"{\0}", 6, "is no JSON object"),
    ("ADD", '{"a": "' + "x" * (4 << 20) + '"}', 6, "is longer than 4 MiB"),
    ("ADD", '{"socket": 5}', 7, "socket in the configuration must be a plain text"),
    ("ADD", '{"socket": ""}', 7, "socket in the configuration must be a plain text"),
    ("ADD", '{"socket": "/a\\u0041"}', 7, "socket in the configuration must be a plain text"),
    ("ADD", '{"socket": "/' + "x" * 107 + '"}', 7, "not too long"),
    ("ADD", '{"cniVersion": "\\"1"}', 7, "cniVersion in the configuration must be a plain text"),
    ("ADD", '{"cniVersion": "<1>"}', 7, "cniVersion in the configuration is no version"),
    ("ADD", '{"timeoutSeconds": 0}', 7, "must be a whole number from 1 to 3600"),
    ("ADD", '{"timeoutSeconds": "5"}', 7, "must be a whole number from 1 to 3600"),
    ("ADD", '{"timeoutSeconds": 1.5}', 7, "must be a whole number from 1 to 3600"),
    ("FROB", "{}", 4, 'CNI_COMMAND must be ADD, DEL, CHECK, GC, STATUS or VERSION, not "FROB"'),
    ("", "{}", 4, "CNI_COMMAND must be ADD"),
]


@pytest.mark.parametrize(("command", "text", "code", "words"), WRONG_INPUT, ids=range(len(WRONG_INPUT)))
def test_wrong_input_has_the_code_of_the_specification(
    plugin: Shim, command: str, text: str | bytes, code: int, words: str
) -> None:
    status, printed = plugin.run(command, text)
    assert (status, printed["code"]) == (1, code)
    assert words in printed["msg"]


def test_an_error_is_json_whatever_it_quotes(plugin: Shim) -> None:
    text = json.dumps(plugin.config(socket='/n@"b')).replace('\\"', "'").encode().replace(b"@", b"\xff\x7f")
    assert plugin.run("STATUS", text)[1]["msg"].startswith("the Vallum agent cannot be reached at /n??'b (")
    assert 'not "a?\'b"' in plugin.run("a\n'b", "{}")[1]["msg"]


@pytest.mark.parametrize("name", ["CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS"])
def test_a_missing_variable_is_named_though_no_agent_is_there(plugin: Shim, name: str) -> None:
    status, printed = plugin.run("ADD", **{name: ""})
    assert (status, printed["code"], printed["msg"]) == (
        1,
        4,
        f"the environment lacks {name}, which ADD needs",
    )


def test_a_standard_input_that_is_closed_is_an_error_and_not_a_crash() -> None:
    done = subprocess.run(
        ["sh", "-c", f"exec {shim()} <&-"], env={"CNI_COMMAND": "ADD"}, capture_output=True, check=False
    )
    assert (done.returncode, json.loads(done.stdout)["code"]) == (1, 6)


def agent(plugin: Shim, answer: Callable[[socket.socket, Call], None]) -> Thread:
    """An agent that answers one call as the test wants, in a thread."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(plugin.socket))
    listening.listen(1)

    def serve() -> None:
        with listening:
            caller, _ = listening.accept()
        with caller:
            caller.setblocking(False)
            call = asyncio.run(_receive(caller))
            caller.setblocking(True)
            try:
                answer(caller, call)
            finally:
                call.close()

    thread = Thread(target=serve)
    thread.start()
    return thread


def test_the_agents_answer_is_copied_with_its_status(plugin: Shim) -> None:
    long = json.dumps({"text": "x" * 300_000}).encode()
    thread = agent(plugin, lambda caller, _: caller.sendall(Answer(7, long).encode()))
    assert plugin.run("ADD") == (7, json.loads(long))
    thread.join()


def test_all_variables_of_cni_and_the_whole_configuration_reach_the_agent(plugin: Shim) -> None:
    seen = []
    text = json.dumps(plugin.config(prevResult={"x": "y" * 2_000_000}))

    def answer(caller: socket.socket, call: Call) -> None:
        seen.append((dict(call.environment), call.stdin.decode()))
        caller.sendall(Answer(0, b"{}").encode())

    thread = agent(plugin, answer)
    assert plugin.run("ADD", text, CNI_ARGS="A=1;B=2", CNI_PATH="/x", HOME="/root") == (0, {})
    thread.join()
    ((environment, stdin),) = seen
    assert stdin == text
    expected = ENVIRONMENT | {"CNI_COMMAND": "ADD", "CNI_ARGS": "A=1;B=2", "CNI_PATH": "/x"}
    assert environment == expected | {"VALLUM_ERRNO": "2"}  # there is no such namespace


@pytest.mark.parametrize("part", [b"", b"\0\0", Answer(0, b'{"a": 1}').encode()[:-1], b"\xff\xff\xff\xff\0"])
@pytest.mark.parametrize("command", ["ADD", "DEL"])
def test_an_agent_that_dies_in_the_middle_prints_nothing_half(plugin: Shim, command: str, part: bytes) -> None:
    thread = agent(plugin, lambda caller, _: caller.sendall(part))
    status, printed = plugin.run(command)
    thread.join()
    if command == "DEL":
        assert (status, printed) == (0, None)
        assert len(list(plugin.queue.iterdir())) == 1
    else:
        assert (status, printed["code"]) == (1, 11)
        assert "ended while it was at work" in printed["msg"]


def test_an_agent_that_never_answers_is_given_up_on(plugin: Shim) -> None:
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(plugin.socket))
        deaf.listen(0)
        status, printed = plugin.run("ADD", json.dumps(plugin.config(timeoutSeconds=1)))
    assert (status, printed["code"]) == (1, 11)
    assert "does not answer in time" in printed["msg"]


def test_several_at_once_keep_their_queued_dels_apart(plugin: Shim) -> None:
    env = ENVIRONMENT | {"CNI_COMMAND": "DEL"}
    text = json.dumps(plugin.config()).encode()
    running = [subprocess.Popen([shim()], env=env, stdin=subprocess.PIPE) for _ in range(20)]
    for each in running:
        assert each.stdin is not None
        each.stdin.write(text)
        each.stdin.close()
    assert [each.wait(30) for each in running] == [0] * 20
    assert len(list(plugin.queue.iterdir())) == 20
