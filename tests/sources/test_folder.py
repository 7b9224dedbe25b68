"""Reading and watching worlds on disk: every way a folder changes gives the right events, soon, and no others."""

import asyncio
import io
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from time import monotonic

import pytest

from vallum.model.errors import InputErrors
from vallum.model.objects import Namespace, Pod, PodId
from vallum.model.snapshot import Batch, Gone, Put
from vallum.sources.folder import events, read_world, snapshot, watch

DEADLINE = 10.0
QUIET = 0.15


def pod(name: str, app: str = "web") -> str:
    return f"apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop, labels: {{app: {app}}}}}\n"


def put_names(batch: Batch | InputErrors) -> list[str]:
    assert isinstance(batch, Batch), batch
    return [event.thing.id.name for event in batch.events if isinstance(event, Put) and isinstance(event.thing, Pod)]


def gone_names(batch: Batch | InputErrors) -> list[str]:
    assert isinstance(batch, Batch), batch
    return [event.key[2] for event in batch.events if isinstance(event, Gone) and event.key[0] == "Pod"]


class Stream:
    """What a watch yields, with deadlines."""

    def __init__(self, source: AsyncIterator[Batch | InputErrors]) -> None:
        self._queue: asyncio.Queue[Batch | InputErrors] = asyncio.Queue()
        self._source = source

    async def pump(self) -> None:
        async for batch in self._source:
            self._queue.put_nowait(batch)

    async def next(self) -> Batch | InputErrors:
        return await asyncio.wait_for(self._queue.get(), DEADLINE)

    async def nothing(self) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(self._queue.get(), QUIET)


def watching(path: Path, story: Callable[[Stream], Awaitable[None]]) -> None:
    async def run() -> None:
        async with aclosing(watch(path)) as source:  # type: ignore[type-var]
            stream = Stream(source)
            pump = asyncio.create_task(stream.pump())
            try:
                await story(stream)
            finally:
                pump.cancel()
                await asyncio.wait([pump])

    asyncio.run(run())


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may read everything: step down for a moment."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_folder_is_read_recursively_in_order_without_hidden_files(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / ".git").mkdir()
    (tmp_path / "b" / "z.json").write_text('{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "z"}}')
    (tmp_path / "a.yaml").write_text(pod("a") + "---\n" + pod("a2"))
    (tmp_path / "c.yml").write_text(pod("c"))
    (tmp_path / "README.md").write_text("# not: [a manifest")
    (tmp_path / ".hidden.yaml").write_text("not: [a manifest")
    (tmp_path / ".git" / "x.yaml").write_text("not: [a manifest")
    world = read_world(tmp_path)
    assert [document.body["metadata"]["name"] for document in world.documents] == ["a", "a2", "c", "z"]
    assert world.documents[1].place == f"{tmp_path}/a.yaml:5:1"
    assert world.documents[3].place == f"{tmp_path}/b/z.json:1:1"


def test_a_single_file_of_any_name_is_a_world(tmp_path: Path) -> None:
    (tmp_path / "world.txt").write_text(pod("a"))
    assert [thing.id for thing in read_world(tmp_path / "world.txt").objects if isinstance(thing, Pod)] == [
        PodId("shop", "a")
    ]


def test_a_dash_reads_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(pod("a").encode() + b"  kin: x\n")))
    with pytest.raises(InputErrors) as raised:
        read_world("-")
    assert str(raised.value).startswith("stdin:4:3: ")


def test_the_revision_is_of_names_and_contents_not_of_the_place(tmp_path: Path) -> None:
    for folder, name, text in (("1", "a", "a"), ("2", "a", "a"), ("3", "a", "b"), ("4", "b", "a")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{name}.yaml").write_text(pod(text))
    first, second, third, fourth = (read_world(tmp_path / folder).revision for folder in "1234")
    assert first == second
    assert len({first, third, fourth}) == 3


def test_events_are_the_difference_and_lead_to_the_world(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(pod("a") + "---\n" + pod("b"))
    before = read_world(file)
    first = events(None, before)
    assert [type(event) for event in first.events] == [Put] * 3
    assert first.revision == before.revision
    file.write_text(pod("b") + "---\n" + pod("c"))
    batch = events(snapshot(before), read_world(file))
    assert (put_names(batch), gone_names(batch)) == (["c"], ["a"])
    assert events(snapshot(before), before).events == ()


def test_watch_gives_the_world_first_and_then_each_edit(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(pod("a"))

    async def story(stream: Stream) -> None:
        first = await stream.next()
        assert put_names(first) == ["a"]
        file.write_text(pod("a", "api"))
        assert put_names(await stream.next()) == ["a"]
        (tmp_path / "b.yaml").write_text(pod("b"))
        assert put_names(await stream.next()) == ["b"]
        file.unlink()
        assert gone_names(await stream.next()) == ["a"]

    watching(tmp_path, story)


def test_writing_the_same_again_gives_nothing(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(pod("a"))

    async def story(stream: Stream) -> None:
        await stream.next()
        file.write_text(pod("a"))
        (tmp_path / "notes.txt").write_text("x")
        await stream.nothing()

    watching(tmp_path, story)


def test_a_comment_gives_a_new_revision_without_events(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(pod("a"))

    async def story(stream: Stream) -> None:
        await stream.next()
        file.write_text("# why\n" + pod("a"))
        assert await stream.next() == Batch((), read_world(tmp_path).revision)

    watching(tmp_path, story)


def test_a_file_that_is_half_written_keeps_its_last_contents(tmp_path: Path) -> None:
    """Truncated and not closed yet, it must not take its objects away, also when another file changes."""
    (tmp_path / "a.yaml").write_text(pod("a"))

    async def story(stream: Stream) -> None:
        await stream.next()
        with (tmp_path / "a.yaml").open("w") as half:
            half.write(pod("a2")[:20])
            half.flush()
            (tmp_path / "b.yaml").write_text(pod("b"))
            batch = await stream.next()
            assert (put_names(batch), gone_names(batch)) == (["b"], [])
            half.write(pod("a2")[20:])
        batch = await stream.next()
        assert (put_names(batch), gone_names(batch)) == (["a2"], ["a"])

    watching(tmp_path, story)


def test_an_editor_that_writes_beside_and_renames_is_noticed(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "a.yaml"):
        (tmp_path / "a.yaml").write_text(pod("a"))

        async def story(stream: Stream) -> None:
            await stream.next()
            for name in ("b", "c"):
                (tmp_path / ".a.yaml.swp").write_text(pod(name))
                (tmp_path / ".a.yaml.swp").rename(tmp_path / "a.yaml")
                assert put_names(await stream.next()) == [name]

        watching(path, story)


def test_a_link_that_is_replaced_at_one_instant_gives_one_batch_each_time(tmp_path: Path) -> None:
    def publish(number: int) -> None:
        folder = tmp_path / f"world.{number}"
        folder.mkdir()
        (folder / "a.yaml").write_text(pod(f"a{number}"))
        (tmp_path / "next").symlink_to(folder.name)
        (tmp_path / "next").rename(tmp_path / "world")
        if number > 1:
            (tmp_path / f"world.{number - 1}" / "a.yaml").unlink()
            (tmp_path / f"world.{number - 1}").rmdir()

    publish(0)

    async def story(stream: Stream) -> None:
        assert put_names(await stream.next()) == ["a0"]
        for number in range(1, 6):
            publish(number)
            batch = await stream.next()
            assert (put_names(batch), gone_names(batch)) == ([f"a{number}"], [f"a{number - 1}"])

    watching(tmp_path / "world", story)


def test_a_folder_that_vanishes_is_said_and_is_read_again_when_it_is_back(tmp_path: Path) -> None:
    world = tmp_path / "deep" / "world"
    world.mkdir(parents=True)
    (world / "a.yaml").write_text(pod("a"))

    async def story(stream: Stream) -> None:
        await stream.next()
        for there, away in ((world, tmp_path / "away"), (tmp_path / "deep", tmp_path / "gone")):
            there.rename(away)
            gone = await stream.next()
            assert str(gone) == f"{world}: is gone; the last good world stays in force until it is back"
            away.rename(there)
            assert await stream.next() == Batch((), read_world(world).revision)
        (world / "b.yaml").write_text(pod("b"))
        assert put_names(await stream.next()) == ["b"]

    watching(world, story)


def test_a_world_that_does_not_exist_yet_is_waited_for(tmp_path: Path) -> None:
    async def story(stream: Stream) -> None:
        assert "no such file or folder" in str(await stream.next())
        (tmp_path / "later" / "world").mkdir(parents=True)
        assert "holds no manifest" in str(await stream.next())
        (tmp_path / "later" / "world" / "a.yaml").write_text(pod("a"))
        assert put_names(await stream.next()) == ["a"]

    watching(tmp_path / "later" / "world", story)


def test_new_and_renamed_folders_inside_are_watched_too(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(pod("a"))

    async def story(stream: Stream) -> None:
        await stream.next()
        (tmp_path / "new").mkdir()
        (tmp_path / "new" / "b.yaml").write_text(pod("b"))
        assert put_names(await stream.next()) == ["b"]
        (tmp_path / "new").rename(tmp_path / "renamed")
        assert await stream.next() == Batch((), read_world(tmp_path).revision)
        (tmp_path / "renamed" / "c.yaml").write_text(pod("c"))
        assert put_names(await stream.next()) == ["c"]

    watching(tmp_path, story)


def test_files_behind_links_that_are_switched_together_are_read(tmp_path: Path) -> None:
    """As kubelet publishes a ConfigMap: a.yaml -> ..data/a.yaml, and ..data is replaced."""

    def publish(name: str) -> None:
        (tmp_path / f"..{name}").mkdir()
        (tmp_path / f"..{name}" / "a.yaml").write_text(pod(name))
        (tmp_path / "..next").symlink_to(f"..{name}")
        (tmp_path / "..next").rename(tmp_path / "..data")

    publish("a")
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")

    async def story(stream: Stream) -> None:
        assert put_names(await stream.next()) == ["a"]
        publish("b")
        assert put_names(await stream.next()) == ["b"]

    watching(tmp_path, story)


def test_errors_are_yielded_once_and_the_last_good_world_stays_the_base(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(pod("a"))

    async def story(stream: Stream) -> None:
        await stream.next()
        file.write_text("kind: [\n")
        assert isinstance(await stream.next(), InputErrors)
        (tmp_path / "notes.txt").write_text("x")
        await stream.nothing()
        file.write_text(pod("b"))
        batch = await stream.next()
        assert (put_names(batch), gone_names(batch)) == (["b"], ["a"])

    watching(tmp_path, story)


def test_a_burst_of_writes_ends_in_the_last_state(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(pod("a"))

    async def story(stream: Stream) -> None:
        await stream.next()
        for number in range(50):
            (tmp_path / f"{number % 7}.yaml").write_text(pod(f"p{number}"))
        seen = {"a"}
        wanted = {"a", *(f"p{number}" for number in range(43, 50))}
        while seen != wanted:
            batch = await stream.next()
            seen = (seen | set(put_names(batch))) - set(gone_names(batch))

    watching(tmp_path, story)


def test_an_edit_is_yielded_within_milliseconds(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(pod("a"))
    took: list[float] = []

    async def story(stream: Stream) -> None:
        await stream.next()
        for number in range(15):
            begun = monotonic()
            (tmp_path / "a.yaml").write_text(pod("a", f"v{number}"))
            await stream.next()
            took.append(monotonic() - begun)

    watching(tmp_path, story)
    assert sorted(took)[len(took) // 2] < 0.05, took  # a few ms; a busy machine is forgiven


def test_watching_stdin_gives_it_once_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(pod("a").encode())))

    async def collect() -> list[Batch | InputErrors]:
        return [batch async for batch in watch("-")]

    (batch,) = asyncio.run(collect())
    assert put_names(batch) == ["a"]


def test_namespaces_that_are_only_used_have_their_name_label(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(pod("a"))
    (namespace, _) = read_world(tmp_path).objects
    assert namespace == Namespace("shop", (("kubernetes.io/metadata.name", "shop"),))


def test_a_file_that_vanishes_while_it_is_read_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.yaml").write_text(pod("a"))
    (tmp_path / "b.yaml").write_text(pod("b"))
    really = os.open

    def vanishing(path: str, *rest: int) -> int:
        if path.endswith("a.yaml"):
            (tmp_path / "a.yaml").unlink(missing_ok=True)
        return really(path, *rest)

    monkeypatch.setattr(os, "open", vanishing)
    assert [document.body["metadata"]["name"] for document in read_world(tmp_path).documents] == ["b"]


def test_a_file_of_another_user_is_named() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        (Path(folder) / "a.yaml").write_text(pod("a"))
        (Path(folder) / "a.yaml").chmod(0)
        with as_nobody(), pytest.raises(InputErrors) as raised:
            read_world(folder)
    assert str(raised.value) == f"{folder}/a.yaml: may not be read by this user; change its mode or owner"
