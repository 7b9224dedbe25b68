"""From any program to any other: the kernel ends with exactly the new one, however the way is cut into pieces."""

import socket
from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest

from inside import run_inside
from labs import nft_here, transactions
from programs import linkless, program_of, random_program
from vallum.dataplane.nftables.change import PIECE, change, clashes, held
from vallum.dataplane.nftables.listing import parse
from vallum.dataplane.nftables.marks import MASK, Marks
from vallum.dataplane.nftables.plane import NftablesPlane
from vallum.dataplane.nftables.program import Program
from vallum.kernel import conntrack
from vallum.kernel.nft import Nft
from worlds import world

MARKS = Marks(MASK)
PAIRS = 24
TINY = 12
"""Elements and rules in one transaction: every change of more than a few lines takes the long way."""


def kernel(nft: Nft) -> Program:
    """What the kernel holds, names and all."""
    return parse(nft.run("list table inet vallum"))


def general(nft: Nft) -> Program:
    """The live program without generation and number."""
    return held(kernel(nft), MARKS).program


def emptied(nft: Nft) -> None:
    nft.run("add table inet vallum\ndelete table inet vallum")


def load(nft: Nft, program: Program, piece: int = PIECE) -> None:
    """A cold load."""
    emptied(nft)
    for script in change(None, program, MARKS, piece).scripts:
        nft.run(script)


def walk(nft: Nft, target: Program, piece: int, *, stop_after: int | None = None) -> int:
    """Change from what stands to the target; stopped early as a crash would. The number of transactions sent."""
    todo = change(held(kernel(nft), MARKS), target, MARKS, piece)
    scripts = (*todo.scripts, *todo.removals)[:stop_after]
    for script in scripts:
        nft.run(script)
    return len(scripts)


def different(one: Program, other: Program) -> str:
    """Where two programs differ, in a line."""
    sets = [name for name in {*one.sets, *other.sets} if one.sets.get(name) != other.sets.get(name)]
    chains = [name for name in {*one.chains, *other.chains} if one.chains.get(name) != other.chains.get(name)]
    return f"sets {sorted(sets)}, chains {sorted(chains)}"


def inside(piece: Callable[[Nft], list[str]]) -> list[str]:
    return run_inside(lambda: piece(Nft()))


@pytest.mark.packets
@pytest.mark.parametrize("piece", [PIECE, TINY], ids=["in place", "by a new generation"])
def test_a_change_ends_where_a_cold_load_ends(piece: int):
    def body(nft: Nft) -> list[str]:
        wrong = []
        for seed in range(PAIRS):
            random = Random(seed)
            before, after = random_program(random), random_program(random)
            load(nft, after)
            cold = general(nft)
            load(nft, before)
            walk(nft, after, piece)
            warm = general(nft)
            if not warm == cold == after:
                wrong.append(f"seed {seed}: {different(warm, after)}")
        return wrong

    assert inside(body) == []


@pytest.mark.packets
def test_a_long_walk_leaves_nothing_of_the_programs_on_its_way():
    def body(nft: Nft) -> list[str]:
        random, wrong = Random(7), []
        load(nft, random_program(random))
        for step in range(PAIRS):
            target = random_program(random)
            walk(nft, target, random.choice((TINY, PIECE)))
            whole = kernel(nft)
            state = held(whole, MARKS)
            if state.program != target or state.litter_sets or state.litter_chains:
                wrong.append(f"step {step}: {different(state.program, target)} {state.litter_chains}")
            if len(whole.sets) != len(target.sets) or len(whole.chains) != len(target.chains):
                wrong.append(f"step {step}: more objects than the program has")
        return wrong

    assert inside(body) == []


@pytest.mark.packets
def test_an_interrupted_load_changes_nothing_and_its_litter_is_cleaned():
    def body(nft: Nft) -> list[str]:
        wrong, cut = [], 0
        for seed in range(PAIRS):
            random = Random(100 + seed)
            before, between, after = (random_program(random) for _ in range(3))
            load(nft, before)
            todo = change(held(kernel(nft), MARKS), between, MARKS, TINY)
            scripts = (*todo.scripts, *todo.removals)
            stop = random.randrange(len(scripts))
            walk(nft, between, TINY, stop_after=stop)
            state = held(kernel(nft), MARKS)
            cut += stop > 0
            if state.program != (before if state.generation == "a" else between):
                wrong.append(f"seed {seed}, cut after {stop} of {len(scripts)}: {different(state.program, before)}")
            walk(nft, after, random.choice((TINY, PIECE)))
            state = held(kernel(nft), MARKS)
            if state.program != after or state.litter_sets or state.litter_chains:
                wrong.append(f"seed {seed}: litter {state.litter_sets} {state.litter_chains}")
        return wrong if cut > PAIRS // 2 else [*wrong, "hardly anything was cut"]

    assert inside(body) == []


@pytest.mark.packets
def test_a_cold_load_that_was_interrupted_is_finished():
    def body(nft: Nft) -> list[str]:
        wrong = []
        for seed in range(6):
            random = Random(200 + seed)
            program = random_program(random)
            emptied(nft)
            scripts = change(None, program, MARKS, TINY).scripts
            for script in scripts[: random.randrange(1, len(scripts))]:
                nft.run(script)
            walk(nft, program, PIECE)
            state = held(kernel(nft), MARKS)
            if state.program != program or state.litter_sets or state.litter_chains:
                wrong.append(f"seed {seed}: {different(state.program, program)}")
        return wrong

    assert inside(body) == []


def test_from_a_program_to_itself_is_no_transaction():
    program = random_program(Random(1))
    state = held(Program(program.sets, program.chains), MARKS)
    state = replace(state, program=program, number=3)
    assert change(state, program, MARKS).scripts == ()
    assert change(state, program, MARKS).number == 3


def test_only_the_difference_is_sent():
    snapshot = world(Random(8), pods=12)  # in which that pod matters to node1
    program = linkless(program_of(snapshot))
    gone = next(id_ for id_, pod in snapshot.pods.items() if pod.node == "node2")
    smaller = linkless(program_of(replace(snapshot, pods=snapshot.pods.changed({gone: None}))))
    state = replace(held(Program(), MARKS), program=program, number=1)
    (script,) = change(state, smaller, MARKS).scripts
    kept = {line.split()[4] for line in script.splitlines() if line.startswith(("add element", "delete element"))}
    touched = {name for name, found in smaller.sets.items() if found != program.sets.get(name)}
    assert {name.replace("a_", "~", 1) for name in kept} <= touched
    assert "add set" not in script
    assert "add chain" not in script


@pytest.mark.parametrize("mask", [0x3, 0xFF00, MASK], ids=hex)
def test_numbers_go_up_by_one_and_wrap_with_a_sweep(mask: int):
    marks = Marks(mask)
    one, other = random_program(Random(1)), random_program(Random(2))
    for number in {marks.first, marks.most - 1, marks.most}:
        state = replace(held(Program(), marks), program=one, number=number)
        todo = change(state, other, marks)
        if number < marks.most:
            assert (todo.number, todo.sweep) == (number + 1, None)
        else:
            assert (todo.number, todo.sweep) == (marks.first, number)


def test_a_cold_load_sweeps_what_an_earlier_table_may_have_left():
    todo = change(None, random_program(Random(1)), MARKS)
    assert (todo.number, todo.sweep) == (MARKS.first, 0)


@pytest.mark.packets
def test_the_plane_reads_back_what_it_applied_and_sends_nothing_the_second_time():
    def body(_: Nft) -> list[str]:
        plane, random = NftablesPlane(), Random(5)
        wrong = []
        for step in range(4):
            program = random_program(random)
            plane.apply(program)
            before = transactions()
            plane.apply(program)
            if transactions() != before:
                wrong.append(f"step {step}: the second apply sent something")
            if plane.read() != program:
                wrong.append(f"step {step}: read is not what was applied")
            if NftablesPlane().read() != program:
                wrong.append(f"step {step}: another instance reads something else")
            before = transactions()
            fresh = NftablesPlane()
            fresh.apply(program)
            if transactions() != before:
                wrong.append(f"step {step}: a plane that starts sends what is there already")
        plane.clear()
        plane.clear()
        return wrong if plane.read() is None else [*wrong, "clear left something"]

    assert inside(body) == []


@pytest.mark.packets
def test_a_flow_that_sleeps_until_its_number_returns_has_lost_its_mark():
    """With two bits every second revision has the same number: nothing may be remembered across."""

    def body(_: Nft) -> list[str]:
        marks, random = Marks(0x3), Random(11)
        plane = NftablesPlane(marks.mask)
        programs = [random_program(random) for _ in range(9)]
        seen = []
        for program in programs:
            plane.apply(program)
            mine = held(kernel(Nft()), marks).number
            seen.append(mine)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.sendto(b"x", ("127.0.0.1", 9 if mine == marks.most else 10))
            if mine == marks.first and len(seen) > 1 and conntrack.clear_marks(marks.mask, keep=marks.first):
                return [f"after {seen} a mark of an earlier round is left"]
        return [] if seen == [2, 3, 2, 3, 2, 3, 2, 3, 2] else [f"numbers went {seen}"]

    assert inside(body) == []


@pytest.mark.packets
def test_the_nft_program_prints_the_table_and_can_read_it_again():
    def body(nft: Nft) -> list[str]:
        wrong = []
        for seed in range(6):
            program = random_program(Random(300 + seed))
            load(nft, program)
            listing = nft_here("-s", "list", "ruleset")
            emptied(nft)
            nft_here(script=listing)
            if general(nft) != program:
                wrong.append(f"seed {seed}: {different(general(nft), program)}")
        return wrong

    assert inside(body) == []


@pytest.mark.packets
def test_what_a_change_brought_is_confirmed_until_somebody_takes_some_of_it():
    def body(nft: Nft) -> list[str]:
        plane, random, wrong, narrow = NftablesPlane(), Random(11), [], 0
        for step in range(PAIRS):
            plane.apply(random_program(random))
            target = replace(random_program(random), strict=frozenset())
            plane.apply(target)
            brought = plane._brought
            if not plane.confirm(target):
                wrong.append(f"step {step}: what was sent is not found")
            if brought:
                narrow += 1
                name, (_, elements) = next(iter(brought.items()))
                kernel_name = name.replace("~", f"{plane._held.generation}_")
                nft.run(f"delete element inet vallum {kernel_name} {{ {next(iter(elements))} }}")
                if plane.confirm(target):
                    wrong.append(f"step {step}: an element of {name} is gone and it was not seen")
                plane.read()
        return wrong if narrow > PAIRS // 2 else [*wrong, f"read narrowly {narrow} times"]

    assert inside(body) == []


@pytest.mark.packets
def test_what_a_change_leaves_goes_when_it_is_tidied_and_serves_when_it_is_wanted_again():
    def body(nft: Nft) -> list[str]:
        plane, random, wrong, left = NftablesPlane(), Random(17), [], 0
        for step in range(PAIRS):
            one, other = random_program(random), random_program(random)
            for program in (one, other, one)[: random.randrange(1, 4)]:
                plane.apply(program)
                left += plane._held.program != program
            if random.random() < 0.5:
                plane.tidy()
                if held(kernel(nft), MARKS).program != program:
                    wrong.append(f"step {step}: tidied, and {different(general(nft), program)}")
            elif plane.read() != program:
                wrong.append(f"step {step}: read is not what was applied")
        return wrong if left > PAIRS // 2 else [*wrong, f"something was left {left} times"]

    assert inside(body) == []


def test_a_chain_that_is_left_serves_again_only_with_the_rules_that_it_has():
    one, empty = random_program(Random(3)), Program()
    name = next(name for name, chain in one.chains.items() if chain.rules and not chain.base)
    other = replace(one, chains={**one.chains, name: replace(one.chains[name], rules=("drop",))})
    assert not clashes(one, empty, one)
    assert not clashes(one, empty, empty)
    assert clashes(one, empty, other)
    assert not clashes(one, one, other)
