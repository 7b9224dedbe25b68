"""A whole state as documents and back: the same, what is in use now stays, and contradictions are refused."""

import json
from typing import Any

import pytest

from ipam.layouts import RACKS, ZONES, World, same
from vallum.ipam import backup
from vallum.ipam.state import State
from vallum.ipam.verify import verify
from vallum.model.errors import InputError


def lived() -> World:
    world = World(ZONES)
    for number in range(4):
        world.join(f"h{number}", zone="z2", rack="r4")
        for pod in range(5):
            world.take(f"h{number}", f"p{pod}")
    world.free("h1", "p3")
    world.adopt("n1", x=["10.64.0.9"])
    return world


def dumped(world: World) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(json.dumps(backup.documents(world.state)))
    return found


def test_a_backup_holds_everything_and_puts_it_back() -> None:
    world = lived()
    change, kept = backup.put_back(State(), backup.read(dumped(world)), world.now)
    again = State()
    again.apply(change.stamped(1), 1)
    assert same(again).keys() == same(world.state).keys()
    assert kept == []
    assert [finding.rule for finding in verify(again)] == ["stray"]


def test_putting_back_what_is_there_changes_nothing() -> None:
    world = lived()
    assert not backup.put_back(world.state, backup.read(dumped(world)), world.now)[0]


def test_what_is_in_use_now_stays_though_the_backup_gives_it_to_another() -> None:
    world = World(RACKS)
    world.join("h", rack="a")
    first = world.take("h", "old")
    documents = dumped(world)
    world.free("h", "old")
    world.now += 30
    assert world.take("h", "new", first) == first
    second = world.take("h", "newer")
    change, kept = backup.put_back(world.state, backup.read(documents), world.now)
    world.do(change)
    assert kept == sorted([first, second])
    assert world.used() == sorted([first, second])
    assert world.state.held("h", "new")
    assert not verify(world.state)


def test_a_backup_that_contradicts_itself_is_refused() -> None:
    documents = dumped(lived())
    without = [each for each in documents if each["metadata"]["name"] != "h2"]
    with pytest.raises(InputError, match=r"Block 10\.67\.0\.64/27: its host h2 is not here"):
        backup.put_back(State(), backup.read(without), 0)
    with pytest.raises(InputError, match="stands twice; leave one out"):
        backup.read([*documents, documents[-1]])
