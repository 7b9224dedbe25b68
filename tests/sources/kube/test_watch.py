"""Every way in which an API server lets its watchers down, and that the world in the end is what the server holds."""

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from follower import NAMESPACES, NODES, PODS, POLICIES, encoded, following, pod, policy, serving, space, world_of
from vallum.lab.bench.fakeapi import CLOSE, HANG, Answer, FakeApi, Request, status
from vallum.model.snapshot import Gone
from virtual import run

STREAMS = ["yes", "refused", "error", "ignored"]
EXPIRED = {"type": "ERROR", "object": {"kind": "Status", "status": "Failure", "code": 410, "reason": "Expired"}}
# a server that is cut down in the middle leaves connections to the collector; test_client sees to those of the client
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def streamed(*events: dict[str, Any]) -> Answer:
    """A watch that gives these and ends."""
    return Answer(200, b"".join(encoded(event) + b"\n" for event in events))


def once(path: str, answer: Answer, *, watch: bool | None = None, times: int = 1) -> Callable[[Request], Answer | None]:
    """A rule for the first requests of a path."""
    left = [times]

    def rule(request: Request) -> Answer | None:
        if request.path != path or not left[0] or watch not in (None, request.watches):
            return None
        left[0] -= 1
        return answer

    return rule


def lists(api: FakeApi, path: str) -> int:
    """How often the whole of a kind was asked for."""
    asked = [each for each in api.requests if each.path == path and "continue" not in each.params]
    return sum(not each.watches or "sendInitialEvents" in each.params for each in asked)


@pytest.mark.parametrize("streams", STREAMS)
def test_the_whole_world_comes_first_and_then_every_change(streams: str):
    async def work() -> None:
        async with serving(streams=streams) as (api, told):
            await told.until(lambda: bool(told.batches))
            assert told.world == world_of(api), "half a world would open or close something"
            api.put(PODS, pod("two", "10.44.0.2"))
            api.put(POLICIES, policy("closed", ingress=[{}]))
            api.put(NAMESPACES, space("b", team="x"))
            api.delete(PODS, "one", "a")
            await told.caught_up(api)
            assert not told.troubles

    run(work())


def test_nothing_is_told_before_every_kind_is_known():
    async def work() -> None:
        api = FakeApi(rule=lambda request: HANG if request.path == NODES else None)
        api.put(PODS, pod("one"))
        await api.start()
        async with following(api) as told:
            await told.until(lambda: bool(told.troubles))
            assert not told.batches
            assert "nodes" in told.trouble
            api.rule = lambda _: None
            await told.caught_up(api)
            await told.until(lambda: not told.trouble)

    run(work())


def test_pages_are_of_one_version_whatever_happens_meanwhile(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("vallum.sources.kube.reflector.LIMIT", 3)

    async def work() -> None:
        api = FakeApi(streams="refused")
        for number in range(10):
            api.put(PODS, pod(f"pod-{number}", f"10.44.0.{number}"))

        def meanwhile(request: Request) -> None:
            if request.params.get("continue") and len(api.objects(PODS)) < 12:
                api.put(PODS, pod("pod-0b", "10.44.1.1"))
                api.put(PODS, pod("pod-99", "10.44.1.2"))
                api.delete(PODS, "pod-9", "a")

        api.rule = meanwhile
        await api.start()
        async with following(api) as told:
            await told.caught_up(api)
            pages = [each.params for each in api.requests if each.path == PODS and not each.watches]
            assert [each["limit"] for each in pages] == ["3"] * 4
            assert any(str(event).count("pod-9'") for event in told.batches[0].events), (
                "of the version of the first page"
            )

    run(work())


def test_a_list_whose_pages_expire_is_asked_for_in_one_piece(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("vallum.sources.kube.reflector.LIMIT", 3)

    async def work() -> None:
        api = FakeApi(streams="refused")
        for number in range(10):
            api.put(PODS, pod(f"pod-{number}", f"10.44.0.{number}"))
        left = [1]

        def rule(request: Request) -> None:
            if request.params.get("continue") and left[0]:
                left[0] -= 1
                api.compact()

        api.rule = rule
        await api.start()
        async with following(api) as told:
            await told.caught_up(api)
            assert [each.params.get("limit") for each in api.requests if each.path == PODS and not each.watches] == [
                "3",
                "3",
                None,
            ]

    run(work())


@pytest.mark.parametrize("streams", STREAMS)
@pytest.mark.parametrize("form", ["status", "event"])
def test_a_version_that_is_forgotten_means_a_new_list_and_what_went_meanwhile_is_gone(form: str, streams: str):
    async def work() -> None:
        async with serving(streams=streams) as (api, told):
            await told.caught_up(api)
            refused = status(410, "too old resource version: 1 (2)") if form == "status" else streamed(EXPIRED)
            api.rule = once(PODS, refused, watch=True)
            api.delete(PODS, "one", "a")
            api.put(PODS, pod("two", "10.44.0.2"))
            api.compact()
            api.cut()
            await told.caught_up(api)
            assert Gone(("Pod", "a", "one")) in told.batches[-1].events
            assert not told.troubles, "this happens every day"

    run(work())


def test_who_is_in_a_hurry_lists_in_pages_first_and_as_a_stream_when_the_thread_is_lost():
    async def work() -> None:
        async with serving(hurry=True) as (api, told):
            await told.caught_up(api)
            assert streamed_lists(api) == 0
            api.rule = once(PODS, status(410, "too old resource version: 1 (2)"), watch=True)
            api.delete(PODS, "one", "a")
            api.compact()
            api.cut()
            await told.caught_up(api)
            assert streamed_lists(api) >= 1
            assert lists(api, PODS) == 2

    run(work())


def streamed_lists(api: FakeApi) -> int:
    """How often a list was asked for as a stream, of whatever kind."""
    return sum("sendInitialEvents" in each.params for each in api.requests)


def test_objects_that_stayed_as_they_were_are_not_told_again():
    async def work() -> None:
        async with serving() as (api, told):
            await told.caught_up(api)
            changed = pod("one", "10.44.0.1")
            changed["status"] |= {"phase": "Running", "conditions": [{"type": "Ready"}]}
            api.put(PODS, changed)
            api.put(PODS, pod("two"))
            await told.caught_up(api)
            before = told.world["Pod", "a", "one"]
            api.compact()
            api.cut()
            api.put(POLICIES, policy("more"))
            await told.caught_up(api)
            events = [event for batch in told.batches[1:] for event in batch.events]
            assert len(events) == 2
            assert told.world["Pod", "a", "one"] is before

    run(work())


def test_the_revision_is_the_newest_that_policies_are_known_at():
    async def work() -> None:
        async with serving() as (api, told):
            await told.caught_up(api)
            written = api.put(POLICIES, policy("closed") | {"status": {}})
            revision = written["metadata"]["resourceVersion"]
            await told.until(lambda: told.batches[-1].revision == revision)
            assert told.batches[-1].events == (), "what changed is nothing that we read"
            assert told.at[-1] < 1, "the change itself told, no bookmark"
            api.version += 50  # somebody writes what we do not watch: only bookmarks tell
            await told.until(lambda: told.batches[-1].revision == str(api.version))

    run(work())


def test_a_server_that_is_away_for_long_changes_nothing_and_is_named_with_since_when():
    async def work() -> None:
        async with serving() as (api, told):
            await told.caught_up(api)
            port = int(api.url.rpartition(":")[2])
            await api.stop()
            await told.until(lambda: api.url in told.trouble)
            count = len(told.batches)
            await asyncio.sleep(900.0 + told.at[-1])
            assert told.troubles[-1].text == f"{api.url}: connection refused"
            assert {each.since for each in told.troubles} == {"1970-01-01T00:00:00Z"}
            assert (len(told.batches), len(told.troubles) < 8) == (count, True)
            api.delete(PODS, "one", "a")
            await api.start(port)
            back = asyncio.get_running_loop().time()
            await told.caught_up(api)
            await told.until(lambda: not told.trouble)
            assert told.at[-1] - back < 21, "tried again twice a minute at least"

    run(work())


def test_waits_grow_and_differ_and_are_forgotten_after_success():
    async def work() -> None:
        async with serving() as (api, told):
            await told.caught_up(api)
            asked: set[float] = set()

            def rule(request: Request) -> Answer:
                asked.update({asyncio.get_running_loop().time()} if request.path == NODES else ())
                return CLOSE

            api.rule = rule
            api.cut()
            await asyncio.sleep(300.0 + told.at[-1])
            waits = [after - before for before, after in pairwise(sorted(asked))]
            assert 0 < waits[0] < 0.5
            assert 9 < max(waits) <= 20
            assert len(waits) < 40
            api.rule = lambda _: None
            await told.until(lambda: not told.trouble)

    run(work())


@pytest.mark.parametrize("code", [429, 503])
def test_a_server_that_says_when_to_come_back_is_heard(code: int):
    async def work() -> None:
        async with serving() as (api, told):
            await told.caught_up(api)
            at = asyncio.get_running_loop().time()
            api.rule = once(PODS, status(code, "too many", ("Retry-After: 90",)), watch=True)
            api.cut()
            api.delete(PODS, "one", "a")
            await told.caught_up(api)
            assert 90 <= told.at[-1] - at < 120
            assert f"{code}" in told.troubles[0].text

    run(work())


@pytest.mark.parametrize("what", ["watch", "list"])
def test_a_right_that_is_missing_is_named_with_its_verb_and_resource(what: str):
    async def work() -> None:
        text = f'nodes is forbidden: User "u" cannot {what} resource "nodes" in API group "" at the cluster scope'
        api = FakeApi(streams="refused")
        api.rule = lambda request: (
            status(403, text) if (request.path, request.watches) == (NODES, what == "watch") else None
        )
        await api.start()
        async with following(api) as told:
            await told.until(lambda: bool(told.trouble))
            assert told.trouble == f"nodes: {text}; we need list and watch of nodes, see deploy/rbac.yaml"
            assert not told.batches
            api.rule = lambda request: status(422, "no") if "sendInitialEvents" in request.params else None
            await told.until(lambda: not told.trouble)
            await told.caught_up(api)

    run(work())


def test_a_stream_that_went_dead_is_left_after_its_time():
    async def work() -> None:
        async with serving(bookmarks=False) as (api, told):
            await told.caught_up(api)
            api.rule = once(PODS, HANG, watch=True)
            api.cut()
            api.delete(PODS, "one", "a")
            await told.caught_up(api)
            assert told.at[-1] < 400

    run(work())


def test_a_version_of_the_future_is_noticed_by_the_silence():
    """Its etcd was restored from a backup: the server is silent until its versions reach ours."""

    async def work() -> None:
        async with serving() as (api, told):
            api.put(PODS, pod("two", "10.44.0.2"))
            await told.caught_up(api)
            api.delete(PODS, "two", "a")
            api.version, api.compacted = 50, 0
            api._changes.clear()
            api.cut()
            await told.caught_up(api)
            assert ("Pod", "a", "two") not in told.world
            assert told.at[-1] < 2 * 315

    run(work())


def test_a_server_that_ends_every_watch_at_once_is_not_asked_all_the_time():
    async def work() -> None:
        async with serving() as (api, told):
            await told.caught_up(api)
            api.rule = lambda request: streamed() if request.watches else None
            api.cut()
            await told.until(lambda: "ends every watch at once" in told.trouble)
            count = len(api.requests)
            await asyncio.sleep(60.0 + told.at[-1])
            assert len(api.requests) - count < 60
            api.rule = lambda _: None
            api.delete(PODS, "one", "a")
            await told.caught_up(api)
            await told.until(lambda: not told.trouble)

    run(work())


def test_a_version_that_expires_again_and_again_does_not_list_without_pause():
    async def work() -> None:
        async with serving(streams="refused") as (api, told):
            await told.caught_up(api)
            before = lists(api, PODS)
            api.rule = lambda request: streamed(EXPIRED) if (request.path, request.watches) == (PODS, True) else None
            api.cut()
            await told.until(lambda: "410" in told.trouble)
            await asyncio.sleep(60.0 + told.at[-1])
            assert lists(api, PODS) - before < 15

    run(work())


def test_a_stream_cut_in_the_middle_of_an_object_is_taken_up_where_it_ended():
    async def work() -> None:
        async with serving() as (api, told):
            await told.caught_up(api)
            half = encoded({"type": "DELETED", "object": {"metadata": {"name": "one", "namespace": "a"}}})[:-20]
            api.rule = once(PODS, Answer(200, half), watch=True)
            api.cut()
            api.put(PODS, pod("two", "10.44.0.2"))
            await told.caught_up(api)
            assert not [event for batch in told.batches for event in batch.events if isinstance(event, Gone)]

    run(work())


def test_what_comes_right_after_a_bookmark_and_a_cut_is_not_missed():
    async def work() -> None:
        async with serving() as (api, told):
            await told.caught_up(api)
            await asyncio.sleep(70.0 + told.at[-1])
            api.cut()
            api.put(PODS, pod("two", "10.44.0.2"))
            await told.caught_up(api)

    run(work())


@pytest.mark.parametrize("streams", STREAMS)
def test_what_an_object_has_that_cannot_be_read_is_said_and_stops_nothing(streams: str):
    async def work() -> None:
        async with serving(streams=streams) as (api, told):
            await told.caught_up(api)
            api.put(POLICIES, policy("odd", ingress=[{"from": [{"ipBlock": {"cidr": "everybody"}}]}]))
            api.put(POLICIES, policy("fine"))
            await told.until(lambda: bool(told.troubles) and ("Policy", "a", "fine") in told.world)
            assert told.troubles[-1].text == ""
            (line,) = told.troubles[-1].objects
            assert line.startswith("networkpolicies a/odd: spec.ingress[0].from[0].ipBlock.cidr: `everybody`")
            api.put(POLICIES, policy("odd"))
            await told.until(lambda: not told.troubles[-1].objects)

    run(work())


def test_another_endpoint_is_taken_when_one_fails():
    async def work() -> None:
        first, second = FakeApi(), FakeApi()
        for api in (first, second):
            api.put(PODS, pod("one", "10.44.0.1"))
            await api.start()
        async with following(first, second) as told:
            await told.caught_up(first)
            assert not second.requests
            await first.stop()
            second.put(PODS, pod("two", "10.44.0.2"))
            await told.caught_up(second)
            assert not told.troubles

    run(work())


def test_an_answer_that_is_none_is_said():
    async def work() -> None:
        async with serving(streams="refused") as (api, told):
            await told.caught_up(api)
            api.rule = lambda request: Answer(200, b"<html>\n") if request.path == PODS else None
            api.version += 5
            api.compact()
            api.cut()
            await told.until(lambda: "what it sends is no answer of an API server" in told.trouble)
            api.rule = lambda _: None
            await told.until(lambda: not told.trouble)

    run(work())
