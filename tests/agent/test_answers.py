"""What the agent's socket answers about the world that it enforces."""

from typing import Any

import msgspec
import pytest

from build import NODE1, pod, policy, rule, select, space, walk
from fakeplane import Run, with_agent
from vallum.agent.answers import explanation, world
from vallum.agent.ask import ask
from vallum.analysis.asked import Asked
from vallum.cli.node import live_world
from vallum.model.errors import InputError
from vallum.model.objects import Object, Peer
from vallum.model.snapshot import snapshot_of
from vallum.sources.world import snapshot

WORLD: tuple[Object, ...] = (
    NODE1,
    space("a", team="red"),
    pod("a/x", "10.44.1.1", app="x"),
    pod("a/y", "10.44.1.2", app="y"),
    policy("a/guard", select(app="y"), [rule(Peer(pods=select(app="z")))]),
)
ASKED = {"from": "a/x", "to": "a/y", "port": 80}


def answer(request: dict[str, Any]) -> dict[str, Any]:
    (line,) = explanation(Asked(snapshot_of(WORLD, "seven")), request)
    return line


def test_an_explanation_bears_the_revision_and_the_nearest_miss():
    found = answer({"op": "explain", "probe": ASKED})
    assert (found["revision"], found["verdict"]) == ("seven", "deny")
    assert [step["text"] for step in found["proposal"]] == ["label app=z on a/x"]


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        ({"probe": {"from": "a/x", "to": "a/nobody", "port": 1}}, "there is no pod a/nobody"),
        ({"probe": {"from": "a/x", "to": "a/y"}}, '"port" must be 1 to 65535 for this protocol, got None'),
        ({}, '"probe" must be a probe as in docs/formats, got None'),
    ],
    ids=["unknown", "no port", "no probe"],
)
def test_a_question_that_cannot_be_answered_gets_its_error(request_: dict[str, Any], error: str):
    assert answer(request_) == {"error": error}


def test_before_anything_is_enforced_there_is_no_answer():
    for lines in (explanation(None, {"probe": ASKED}), world(None)):
        (line,) = lines
        assert "nothing is enforced yet" in line["error"]


def test_the_world_begins_with_its_revision_and_how_much_follows():
    head, *bodies = world(Asked(snapshot_of(WORLD, "seven")))
    assert head == {"revision": "seven", "objects": len(WORLD)}
    assert [body["kind"] for body in bodies] == ["Namespace", "Node", "Pod", "Pod", "NetworkPolicy"]


@pytest.mark.packets
def test_the_world_that_an_agent_tells_is_the_one_that_it_enforces():
    many = (*WORLD, *(pod(f"a/p{number}", f"10.45.{number // 250}.{number % 250 + 1}") for number in range(700)))

    async def piece(run: Run) -> tuple[Any, ...]:
        import asyncio  # noqa: PLC0415 - the agent's loop must go on while the plain client waits

        found = await asyncio.to_thread(live_world, run.settings.socket)
        told = await asyncio.to_thread(ask, run.settings.socket, {"op": "explain", "probe": ASKED})
        status = await run.ask('{"op": "status"}')
        return found, told, status["revision"]

    found, told, revision = with_agent(piece, many)
    assert snapshot(found) == snapshot_of(many, revision)
    assert (told["revision"], told["verdict"]) == (revision, "deny")


def test_where_no_agent_answers_it_says_so(tmp_path: Any):
    with pytest.raises(InputError, match=r"no agent answers here .*; is one running\?"):
        live_world(tmp_path / "nobody.sock")


def test_every_line_of_a_world_is_a_manifest_of_its_own():
    for line in world(Asked(snapshot_of(walk(snapshot_of(WORLD))))):
        assert b"\n" not in msgspec.json.encode(line)
