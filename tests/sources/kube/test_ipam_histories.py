"""Any history of hosts that share an API which comes and goes: no address twice, none outside of its group, none lost.

The API is a table in this process with the same conditions on every write as the real one.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from ipam.layouts import layout, leaf, network, split
from kubeipam import Life
from vallum.ipam.choose import REST
from vallum.ipam.records import Host, Record, key_of
from vallum.ipam.state import State
from vallum.ipam.verify import verify
from vallum.model.address import parse
from vallum.model.errors import InputError
from vallum.sources.kube.ipam_api import ConflictError
from vallum.sources.kube.ipam_bridge import AwayError, Remote
from vallum.sources.kube.ipam_forms import Stored, host_of, name_of

RACKS = layout([network("n", "10.0.0.0/27", 30)], split("t", ["n"], leaf(rack="a"), leaf(rack="b")))
"""Two racks of four blocks of four."""
HOSTS = {"h": "a", "i": "a", "j": "b"}
DELETED = ("delete", "lost delete")
OPS = ("add", "add", "add", *DELETED, "restart", "lose ledger", "back up", "restore", "news", "keep", "rest")
OPS += ("away", "back", "lost answer", "node gone")


class Table:
    """What the API holds."""

    def __init__(self) -> None:
        self.things: dict[tuple[str, str], Stored] = {}
        self.version = 0

    def put(self, record: Record, name: str) -> Stored:
        key = (key_of(record).kind, name)
        there = self.things.get(key)
        if (there.record.revision if there else 0) != record.revision:
            raise ConflictError(key_of(record))
        self.version += 1
        found = self.things[key] = Stored(name, replace(record, revision=self.version))
        return found

    def remove(self, record: Record, name: str) -> None:
        there = self.things.get((key_of(record).kind, name))
        if there is not None and there.record.revision != record.revision:
            raise ConflictError(key_of(record))
        self.things.pop((key_of(record).kind, name), None)


class Door(Remote):
    """The way of one host to the table. `loses`: the next write is done, and its answer lost."""

    def __init__(self, table: Table) -> None:
        super().__init__()
        self.table = table
        self.loses = False

    def put(self, record: Record, name: str = "") -> Stored:
        self._ask_it()
        found = self.table.put(record, name or name_of(record))
        if self.loses:
            self.loses = False
            raise AwayError("the answer was lost")
        return found

    def remove(self, record: Record, name: str = "") -> None:
        self._ask_it()
        self.table.remove(record, name or name_of(record))

    def find(self, kind: str, name: str) -> Stored | None:
        self._ask_it()
        return self.table.things.get((kind, name))

    def everything(self, *kinds: str) -> list[Stored]:
        self._ask_it()
        return [each for (kind, _), each in self.table.things.items() if not kinds or kind in kinds]

    def _ask_it(self) -> None:
        if self.away:
            raise AwayError(self.away)


class Cluster:
    """Hosts with their disks and what their kernels use."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.table, self.clock = folder, Table(), [1000.0]
        for record in (*RACKS.networks, *RACKS.topologies):
            self.table.put(record, record.name)
        self.doors = {name: Door(self.table) for name in HOSTS}
        self.uses: dict[str, dict[str, str]] = {name: {} for name in HOSTS}
        self.count = 0
        self.lives: dict[str, Life] = {}
        for name in HOSTS:
            self.begin(name)

    def begin(self, name: str) -> None:
        """A new life of its agent, which does what it can."""
        if name in self.lives:
            self.lives[name].ledger.close()
        life = Life(self.doors[name], self.folder / name / "ledger", name, self.uses[name], self.clock)
        self.lives[name] = life
        life.look()
        self.settle(life)

    def settle(self, life: Life) -> None:
        """News, and the agent's first round."""
        try:
            life.news()
            life.look()
            life.pools.join((("rack", HOSTS[life.host]),), ())
        except (AwayError, ConflictError):
            pass

    def do(self, op: str, name: str) -> None:
        life, door = self.lives[name], self.doors[name]
        match op:
            case "add":
                self.add(life)
            case "delete" | "lost delete" if life.uses:
                owner = next(iter(life.uses))
                if op == "delete":
                    life.delete(owner)
                else:
                    del life.uses[owner]
            case "restart":
                self.begin(name)
            case "lose ledger" | "restore" | "node gone":
                self.disaster(op, name)
            case "back up":
                shutil.rmtree(self.folder / f"{name}.old", ignore_errors=True)
                shutil.copytree(self.folder / name, self.folder / f"{name}.old")
            case "news":
                self.settle(life)
            case "keep" if not door.away:
                with suppress(AwayError):
                    life.keep()
            case "rest":
                self.clock[0] += REST
            case "away" | "back":
                door.away = "it is away" if op == "away" else ""
            case "lost answer":
                door.loses = True

    def add(self, life: Life) -> None:
        self.count += 1
        try:
            address = life.add(f"p{self.count}")
        except InputError:
            return
        half = 16 if HOSTS[life.host] == "b" else 0
        assert half <= parse(address) - parse("10.0.0.0") < half + 16, "outside of its group"

    def disaster(self, op: str, name: str) -> None:
        self.lives[name].ledger.close()
        if op == "node gone":  # its pods too, and what it owned; then it comes again, with its disk
            self.uses[name].clear()
            for key, each in list(self.table.things.items()):
                if host_of(each.record) == name:
                    del self.table.things[key]
        elif op == "lose ledger" or (self.folder / f"{name}.old").exists():
            shutil.rmtree(self.folder / name)
            if op == "restore":
                shutil.copytree(self.folder / f"{name}.old", self.folder / name)
        self.begin(name)

    def used(self) -> list[str]:
        return [address for uses in self.uses.values() for address in uses.values()]


def histories() -> st.SearchStrategy[list[tuple[str, str]]]:
    return st.lists(st.tuples(st.sampled_from(OPS), st.sampled_from(list(HOSTS))), max_size=40)


def clusters() -> Iterator[Cluster]:
    with tempfile.TemporaryDirectory() as folder:
        cluster = Cluster(Path(folder))
        yield cluster
        for life in cluster.lives.values():
            life.ledger.close()


@settings(max_examples=40, deadline=None)
@given(histories())
def test_no_address_is_given_twice_and_in_the_end_none_is_lost(history: list[tuple[str, str]]) -> None:
    for cluster in clusters():
        for op, name in history:
            cluster.do(op, name)
            used = cluster.used()
            assert len(used) == len(set(used)), f"twice after {op} on {name}: {used}"
        for door in cluster.doors.values():
            door.away, door.loses = "", False
        for name in HOSTS:
            cluster.begin(name)
        for _ in range(3):
            cluster.clock[0] += REST
            for life in cluster.lives.values():
                life.news()
                life.keep()
        state = State(each.record for each in cluster.table.things.values())
        assert not verify(state)
        assert {each.name for each in cluster.table.things.values() if isinstance(each.record, Host)} == set(HOSTS)
        assert sum(len(block.used) for block in state.blocks.values()) == len(cluster.used())
        assert not [block.cidr for block in state.blocks.values() if not block.used], (
            "an empty block was not given back"
        )
