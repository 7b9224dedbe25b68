"""The store of one host in a cluster: blocks belong to it by the API, what is used of them stands in its own ledger.

Implements `ipam.store.Store`. A decision that stays inside of the host's own blocks is kept in the ledger and asks
nobody; one that needs another block has the block claimed in the API first, and is then made again. What others do
comes as batches (`hear`), what others should know is written later (`due`). It never hands out of a block that the API
may not know as ours: such a block is *unclaimed*, and what is in use of it stays until it is claimed or lost.
"""

import random
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from vallum.ipam import ExhaustedError
from vallum.ipam.choose import rests
from vallum.ipam.ledger import Ledger
from vallum.ipam.place import stays
from vallum.ipam.records import Block, Change, Host, Record, Stray, key_of
from vallum.ipam.state import State
from vallum.ipam.store import Decision, Result
from vallum.model.address import Packed, unpack
from vallum.model.errors import InputError
from vallum.model.snapshot import Batch, Gone, Put
from vallum.sources.kube.backoff import Backoff
from vallum.sources.kube.ipam_api import ConflictError
from vallum.sources.kube.ipam_bridge import AwayError, Remote
from vallum.sources.kube.ipam_forms import Stored, name_of
from vallum.sources.kube.ipam_layout import LAYOUT, accepted, layout_of
from vallum.sources.kube.ipam_store import TRIES

if TYPE_CHECKING:
    from vallum.ipam.shelves import Room

FURTHEST = 1024
"""Blocks that a host goes further at most when others were faster: a thousand hosts may stand at one block."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be written to the API: a record put, or removed."""

    record: Record
    remove: bool = False


class HostStore:
    """Belongs to one thread but for `hear`.

    Args:
        host: the name of this node.
        ledger: its own, with nobody else's records in it.
        remote: the API.
        chance: gives a whole number below its argument.
        sleep: waits between two tries of a claim.

    Attributes:
        problem: why the layout in the API is not the one in force, empty when it is.
        certain: what the node uses was read back (`adopted`) after the API's records had been read. Not before that is
            anything handed out or given up: a ledger may be new, or an old backup.
        changes: grows when something changes but what is in use of a block.
    """

    def __init__(
        self,
        host: str,
        ledger: Ledger,
        remote: Remote,
        chance: Callable[[int], int] = random.randrange,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._host = host
        self._ledger = ledger
        self._remote = remote
        self._chance = chance
        self._sleep = sleep
        self._news: SimpleQueue[Batch] = SimpleQueue()
        self._there: dict[tuple[str, str], Record] = {}
        self._leaving: dict[Packed, Block] = {}
        self._skipped: list[tuple[Room, int]] = []
        self._moved: Host | None = None
        self._read = False
        self._behind = False
        self.problem = ""
        self.certain = False
        self.changes = 0
        self._state = State(replace(each, revision=0) for each in ledger.state().records())
        self._unclaimed = {block.first for block in self._state.blocks_of(host)}

    def hear(self, batch: Batch) -> None:
        """News of the API, the first of them with everything that is there. From any thread."""
        self._news.put(batch)

    def families(self) -> set[int]:
        """Those that this host has places for."""
        state = self.state()
        mine = state.hosts.get(self._host)
        places = mine.places if mine else ()
        return {state.networks[each.network].cidr.version for each in places if each.network in state.networks}

    def now(self) -> float:
        """See `Store`: the ledger's clock."""
        return self._ledger.now()

    def state(self) -> State:
        """See `Store`: what the API was last heard to say, and of our own blocks what we know better."""
        with suppress(Empty):
            while True:
                self._take(self._news.get_nowait())
                self._behind = True
        if self._behind:
            self._mirror()
            self._behind = False
        return self._state

    def commit(self, decide: Decision[Result], *, later: bool = False) -> Result:
        """See `Store`. With `later` nothing is claimed: what is in use is in use, and the API is told when it can be.

        Raises AwayError where a block is needed and the API cannot be asked.
        """
        try:
            return self._committed(decide, later=later)
        finally:
            self._unskip()

    def learn(self, found: Stored) -> None:
        """A record as it was read from the API apart from the news."""
        self._put(found)
        self._mirror()

    def forget_place(self) -> None:
        """As if the host had never joined: the next place that it takes is written over the one it has."""
        known = self.state().hosts.get(self._host)
        if known is not None:
            self._apply(gone=(known,))
            self._mirror()

    def adopted(self) -> None:
        """What the node uses has been read back and committed."""
        self.certain = self._read

    def _committed(self, decide: Decision[Result], *, later: bool) -> Result:
        backoff, conflicts = Backoff(random.random), 0
        while conflicts < TRIES:
            try:
                change, result = decide(self.state())
            except ExhaustedError:
                if not self._skipped:
                    raise
                self._unskip()
                continue
            claims = [] if later else list(self._claims(change))
            if not claims:
                self._keep(change)
                return result
            try:
                for claim in claims:
                    self._own(self._remote.put(claim).record)
            except ConflictError as error:
                conflicts += 1
                self._look(error, claims, conflicts)
                self._sleep(backoff.wait() / 10)
        raise AwayError(f"{TRIES} times others were faster to take a block of addresses; try again")

    # Decisions

    def _claims(self, change: Change) -> Iterable[Record]:
        """What must be ours in the API before it is used: blocks as they are now, and our own place."""
        for put in change.puts:
            if isinstance(put, Host):
                there = self._there.get(("Host", put.name))
                yield replace(put, revision=there.revision) if there else put
            elif isinstance(put, Block) and put.host == self._host and not self._is_ours(put.first):
                before = self._state.blocks.get(put.first)
                ours = before is not None and before.host == self._host
                yield replace(put, used=before.used if before and ours else {}, freed={})

    def _is_ours(self, first: Packed) -> bool:
        block = self._state.blocks.get(first)
        return block is not None and block.host == self._host and first not in self._unclaimed

    def _keep(self, change: Change) -> None:
        """In the ledger, then in the State. A block whose last address was freed stays ours until it has rested."""
        if not change:
            return
        puts = tuple(self._kept(put) if isinstance(put, Block) else put for put in change.puts)
        self._ledger.commit(lambda state: (_over(state, Change(puts, change.gone)), None))
        for put in puts:
            if isinstance(put, Block) and not self._is_ours(put.first):
                self._unclaimed.add(put.first)
        self._apply(*puts, gone=change.gone)

    def _kept(self, put: Block) -> Block:
        before = self._state.blocks.get(put.first)
        if put.host is None and before is not None:
            return replace(put, host=self._host, tenant=before.tenant)
        return put

    def _own(self, record: Record) -> None:
        """The API has it as ours."""
        self._there[key_of(record).kind, name_of(record)] = record
        if isinstance(record, Block):
            self._leaving.pop(record.first, None)
            self._unclaimed.discard(record.first)
            mine = self._state.blocks.get(record.first)
            if mine is not None and mine.host == self._host:
                record = replace(mine, revision=record.revision)
            else:
                record = replace(record, used={}, freed=mine.freed if mine else {})
        elif isinstance(record, Host):
            self._moved = None
        self._ledger.commit(lambda state: (_over(state, Change((record,))), None))
        self._apply(record)

    def _look(self, error: ConflictError, claims: list[Record], conflicts: int) -> None:
        """Somebody was faster: see who, and go a few blocks further, since others stand at the next one too."""
        lost = next(claim for claim in claims if key_of(claim) == error.key)
        found = self._remote.find(error.key.kind, name_of(lost))
        if found is None:
            self._gone(error.key.kind, name_of(lost))
        elif isinstance(found.record, Block) and found.record.first in self._leaving:
            with suppress(ConflictError):  # a write, so that what removes it finds another revision, or was first
                self._own(self._remote.put(found.record).record)
        else:
            self._put(found)
            if isinstance(lost, Block) and lost.network in self._state.networks:
                self._step_aside(lost, self._chance(min(4**conflicts, FURTHEST)))
        self._mirror()

    def _step_aside(self, block: Block, count: int) -> None:
        place = next(each for each in self._state.hosts[self._host].places if each.network == block.network)
        room = self._state.room(place)
        index = room.index(block.first)
        for _ in range(count):
            index = room.made.past(index)
            if index >= room.count:
                return
            room.made.add(index)
            self._skipped.append((room, index))

    def _unskip(self) -> None:
        for room, index in self._skipped:
            if room.block(index) not in self._state.blocks:
                room.made.discard(index)
        self._skipped.clear()

    # News

    def _take(self, batch: Batch) -> None:
        layout = not self._read
        for event in batch.events:
            match event:
                case Put(thing=Stored() as found):
                    self._put(found)
                    layout |= isinstance(found.record, LAYOUT)
                case Gone(key=(kind, _, name)):
                    self._gone(kind, name)
                    layout |= kind in {each.__name__ for each in LAYOUT}
        self._read = True
        if layout:
            self._accept()

    def _put(self, found: Stored) -> None:
        record = found.record
        self._there[key_of(record).kind, found.name] = record
        match record:
            case Block() if record.host == self._host:
                self._put_own(record)
            case Block():
                self._put_other(record)
            case Host() if record.name != self._host or record.revision > self._revision():
                self._apply(record)
            case Stray() if record.host != self._host:
                self._apply(record)

    def _put_own(self, record: Block) -> None:
        mine = self._state.blocks.get(record.first)
        if record.first in self._leaving or (mine and self._is_ours(record.first) and record.revision <= mine.revision):
            return
        if mine is None or mine.host != self._host:
            mine = replace(record, used={}, freed={})  # what is used of it the kernel says, see `certain`
        self._unclaimed.discard(record.first)
        self._apply(replace(mine, revision=record.revision))

    def _put_other(self, record: Block) -> None:
        mine = self._state.blocks.get(record.first)
        if mine is not None and mine.host == self._host:
            if record.revision <= mine.revision:
                return  # older than our own claim
            if record.host is None:
                self._unclaimed.add(record.first)
                self._apply(replace(mine, revision=record.revision))
                return
            self._unclaimed.discard(record.first)
            strays = (
                Stray(address=unpack(Packed(mine.first + offset)), host=self._host, owner=owner)
                for offset, owner in mine.used.items()
            )
            self._apply(*strays)
        # when it was freed is told on another's clock
        self._apply(replace(record, freed=dict.fromkeys(record.freed, self.now())))

    def _gone(self, kind: str, name: str) -> None:
        record = self._there.pop((kind, name), None)
        match record:
            case Block():
                self._leaving.pop(record.first, None)
                self._gone_block(record)
            case Host() if record.name == self._host:
                self._apply(replace(self._state.hosts.get(self._host, record), revision=0))
            case Host():
                self._apply(gone=(record,))
            case Stray() if record.host != self._host:
                self._apply(gone=(record,))

    def _gone_block(self, record: Block) -> None:
        known = self._state.blocks.get(record.first)
        if known is None:
            return
        if known.host == self._host:
            self._unclaimed.add(record.first)
            self._apply(replace(known, revision=0))
        else:  # what was in use there rests, wherever it was
            rest = dict.fromkeys((*known.used, *known.freed), self.now())
            self._apply(replace(known, host=None, tenant="", used={}, freed=rest, revision=0))

    def _revision(self) -> int:
        known = self._state.hosts.get(self._host)
        return 0 if known is None else known.revision

    def _accept(self) -> None:
        layout = layout_of(each for each in self._there.values() if isinstance(each, LAYOUT))
        try:
            change, moved = accepted(self._state, layout, self._host)
        except InputError as error:
            self.problem = f"the networks and topologies in the API are not taken, the last good ones stay: {error}"
            return
        self.problem = ""
        self._moved = moved or self._moved
        self._apply(*change.puts, gone=change.gone)

    def _apply(self, *puts: Record, gone: tuple[Record, ...] = ()) -> None:
        blocks = self._state.blocks
        for put in puts:
            known = blocks.get(put.first) if isinstance(put, Block) else None
            if known is None or not isinstance(put, Block) or put.host != known.host:
                self.changes += 1
        self.changes += len(gone)
        self._state.apply(Change(puts, gone), self._state.revision + 1)

    def _mirror(self) -> None:
        """What is ours and the layout in force go into the ledger, so that they outlive us."""
        state, host = self._state, self._host
        wanted: list[Record] = [*state.networks.values(), *state.topologies.values(), *state.blackouts.values()]
        wanted += [state.hosts[host]] if host in state.hosts else []
        wanted += [*state.blocks_of(host), *(each for each in state.strays.values() if each.host == host)]
        by_key = {key_of(each): each for each in wanted}
        kept = {key_of(each): each for each in self._ledger.state().records()}
        puts = [each for key, each in by_key.items() if key not in kept or not _same(each, kept[key])]
        gone = [each for key, each in kept.items() if key not in by_key]
        if puts or gone:
            self._ledger.commit(lambda found: (_over(found, Change(tuple(puts), tuple(gone))), None))

    # What the API should know

    def due(self, *, publish: bool) -> list[Job]:
        """What is to be written now: claims first. With `publish` also what of our blocks is in use.

        Blocks that are empty and have rested are given up with this: they are handed out no more.
        """
        state = self.state()
        if not self.certain:
            return []
        jobs = [Job(each) for each in self._place()]
        for block in state.blocks_of(self._host):
            told = self._there.get(("Block", name_of(block)))
            if block.first in self._unclaimed and block.used:
                jobs.append(Job(replace(block, freed={})))
            elif not block.used and not any(rests(at, self.now()) for at in block.freed.values()):
                self._give_up(block)
            elif publish and (not isinstance(told, Block) or told.used != block.used):
                jobs.append(Job(replace(block, freed={})))
        ours = {name_of(each): each for each in state.strays.values() if each.host == self._host}
        jobs += [Job(stray) for name, stray in ours.items() if ("Stray", name) not in self._there]
        for (_, name), record in self._there.items():
            if isinstance(record, Stray) and record.host == self._host and name not in ours:
                jobs.append(Job(record, remove=True))
        return jobs + [Job(block, remove=True) for block in self._leaving.values()]

    def done(self, job: Job, found: Stored | None) -> None:
        """A job was done: `found` stands there now. Where somebody was faster, what he wrote; None: nothing."""
        if job.remove and isinstance(job.record, Block):
            self._leaving.pop(job.record.first, None)
        if found is None:
            self._gone(key_of(job.record).kind, name_of(job.record))
        elif not job.remove and _same(replace(found.record, revision=job.record.revision), job.record):
            self._own(found.record)
        else:
            self._put(found)
        self._mirror()

    def _place(self) -> Iterable[Host]:
        """Our own host, where the API has it no more or the layout moves it."""
        known, moved, self._moved = self._state.hosts.get(self._host), self._moved, None
        if known is None:
            return
        if moved is not None and set(known.places) <= set(moved.places):
            yield replace(moved, revision=known.revision)
            self._moved = moved
        elif not known.revision and self._fits(known):
            yield known
        elif not known.revision:
            self._apply(gone=(known,))
            self._mirror()

    def _fits(self, host: Host) -> bool:
        """Reports whether a host may have its places, and nobody else has its prefixes."""
        state = self._state
        taken = {each.prefix for other in state.hosts.values() if other.name != host.name for each in other.places}
        return bool(host.places) and all(
            place.network in state.networks
            and stays(state.networks[place.network], state.trees[place.network], host, place)
            and (place.prefix is None or place.prefix not in taken)
            for place in host.places
        )

    def _give_up(self, block: Block) -> None:
        self._ledger.commit(lambda state: (Change(gone=_ours(state, block)), None))
        if block.first not in self._unclaimed:
            self._leaving[block.first] = replace(block, freed={})
        self._unclaimed.discard(block.first)
        self._apply(replace(block, host=None, tenant="", freed={}, revision=0))


def _same(one: Record, other: Record) -> bool:
    return replace(one, revision=0) == replace(other, revision=0)


def _over(ledger: State, change: Change) -> Change:
    """The change as one of the ledger's records: it counts its revisions itself."""
    known = (ledger.find(key_of(put)) for put in change.puts)
    puts = tuple(replace(put, revision=old.revision if old else 0) for put, old in zip(change.puts, known, strict=True))
    gone = (ledger.find(key_of(each)) for each in change.gone)
    return Change(puts, tuple(each for each in gone if each is not None))


def _ours(ledger: State, block: Block) -> tuple[Record, ...]:
    found = ledger.blocks.get(block.first)
    return (found,) if found else ()
