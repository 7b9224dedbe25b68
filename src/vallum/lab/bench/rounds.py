"""Interleaved rounds: cells that are to be compared are measured in turn, in another order each round.

A round measures each cell once, within milliseconds, so that whatever else the machine does falls on all of
them; `stats.paired_ratio` then compares round by round. Before that each cell shows that it enforces: without
the last policy the client does not get through, with it it does. Rounds are added while a goal is open.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from vallum.lab.bench import shapes
from vallum.lab.bench.seats import OK, Arena, Sample, Seat
from vallum.model.errors import KernelError

SILENCE = 0.3
"""Seconds without an answer that count as not getting through. An allowed request here takes a millisecond."""

PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class Cell:
    """What is measured: a plane on a path in a family with a number of policies of a shape."""

    plane: str
    path: str
    shape: str
    policies: int
    family: int = 4

    def __str__(self) -> str:
        return f"{self.plane}, {self.path}, IPv{self.family}, {self.policies} policies ({self.shape})"


@dataclass(frozen=True, slots=True)
class Pace:
    """How much is measured: rounds at first and at most, requests a cell and round."""

    rounds: int
    most: int
    requests: int


@dataclass(slots=True)
class Series:
    """The rounds of one cell at one size: times of good requests, failures by reason."""

    cell: Cell
    size: int
    elements: int
    rounds: list[list[float]] = field(default_factory=list)
    failures: dict[str, int] = field(default_factory=dict)

    def add(self, samples: Sequence[Sample]) -> None:
        """Take in one round. Raises KernelError when not one request of it succeeded."""
        good = [sample.complete for sample in samples if sample.reason == OK]
        for sample in samples:
            if sample.reason != OK:
                self.failures[sample.reason] = self.failures.get(sample.reason, 0) + 1
        if not good:
            raise KernelError(f"{self.cell}: no request of a round succeeded: {self.failures}")
        self.rounds.append(good)


def prepare(arena: Arena, cells: Sequence[Cell]) -> list[tuple[Seat, int]]:
    """Give each cell a seat, prove that it enforces, and return the seats with their elements."""
    return [_prepare(arena.seat(cell.path, cell.family, number), cell) for number, cell in enumerate(cells)]


def measure(
    seats: Sequence[tuple[Seat, int]],
    cells: Sequence[Cell],
    size: int,
    pace: Pace,
    *,
    rng: Random,
    is_open: Callable[[Sequence[Series]], bool],
) -> list[Series]:
    """Rounds over all cells at one size, until nothing is open or the limit is reached."""
    series = [Series(cell, size, elements) for cell, (_, elements) in zip(cells, seats, strict=True)]
    for seat, _ in seats:
        seat.run(max(1, pace.requests // 2), size)  # first touches (neighbours, caches) are not measured
    for done in range(pace.most):
        if done >= pace.rounds and (done - pace.rounds) % 10 == 0 and not is_open(series):
            break
        order = list(range(len(series)))
        rng.shuffle(order)
        for index in order:
            series[index].add(seats[index][0].run(pace.requests, size))
    return series


def _prepare(seat: Seat, cell: Cell) -> tuple[Seat, int]:
    if cell.policies:
        seat.hold(cell.plane, shapes.world(cell.shape, cell.policies, seat.ends, without_last=True))
        if seat.attempt(SILENCE) == OK:
            raise KernelError(f"{cell}: the client gets through without the policy that admits it")
    elements = seat.hold(cell.plane, shapes.world(cell.shape, cell.policies, seat.ends))
    reason = seat.attempt(PATIENCE)
    if reason != OK:
        raise KernelError(f"{cell}: the client does not get through: {reason}")
    return seat, elements
