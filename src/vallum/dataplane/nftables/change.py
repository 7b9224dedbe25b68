"""Program -> the nft scripts that lead there from what the kernel holds, sending only the difference.

A small change is made in place, in one transaction that is felt. New chains go before it and what nothing leads to any
more goes after it, because to a packet under way a transaction is no single instant: the kernel reads once, as the
packet enters, which rules are in force, but at each look-up which elements are. So a packet can be led by a new element
to a chain that is still empty for it, or find a map empty that goes with its rules; and at the end of an empty chain it
returns, which means allowed.

A large change is loaded in pieces under the other generation's names (`a_` or `b_`), which nothing refers to yet; one
small transaction then points the base chains at it, and the old generation goes last. So nothing is open or closed
meanwhile, and no transaction outgrows an unprivileged netlink buffer.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from vallum.dataplane.nftables.marks import Marks
from vallum.dataplane.nftables.program import TABLE, Chain, NftSet, Program

GENERATIONS = ("a", "b")
PIECE = 1000
"""Elements or rules in one transaction: 200 kB is what a user namespace's socket buffer takes."""

_OWN = re.compile(r"(?<![\w])([ab])_(?=\w)")


@dataclass(frozen=True, slots=True)
class Held:
    """What the kernel holds: the live generation as a program with `~` names, and names that belong to none."""

    generation: str
    number: int
    program: Program
    litter_sets: Mapping[str, str]
    litter_chains: tuple[str, ...]

    def whole(self) -> Program:
        """The program with the litter in it, so that it differs from what is wanted as long as there is any."""
        chains = {name: Chain() for name in self.litter_chains}
        sets = {name: NftSet("?") for name in self.litter_sets}
        return replace(self.program, chains=chains | dict(self.program.chains), sets=sets | dict(self.program.sets))


def held(listing: Program, marks: Marks) -> Held:
    """Sort a listing: the generation that the base chains point at is live, the rest is litter of a crash.

    Raises nothing: rules whose numbers disagree are left as they stand, so that they show up as a difference.
    """
    numbers = Counter(
        number for chain in listing.chains.values() for _, number in map(marks.read, chain.rules) if number
    )
    current = numbers.most_common(1)[0][0] if numbers else 0
    listing = replace(
        listing, chains={name: _unmarked(chain, marks, current) for name, chain in listing.chains.items()}
    )
    bases = {name: chain for name, chain in listing.chains.items() if chain.base}
    seen = [found for chain in bases.values() for rule in chain.rules for found in _OWN.findall(rule)]
    live = max(GENERATIONS, key=seen.count) if seen else GENERATIONS[0]
    sets = {_general(name, live): _general_set(found, live) for name, found in listing.sets.items()}
    chains = {_general(name, live): _general_chain(chain, live) for name, chain in listing.chains.items()}
    litter_sets = {name: found.keyword for name, found in sets.items() if not name.startswith("~")}
    litter = tuple(name for name, chain in chains.items() if not name.startswith("~") and not chain.base)
    program = Program(
        {name: found for name, found in sets.items() if name.startswith("~")},
        {name: chain for name, chain in chains.items() if name.startswith("~") or chain.base},
        listing.strict,
        listing.flags,
    )
    return Held(live, current, program, litter_sets, litter)


def _unmarked(chain: Chain, marks: Marks, current: int) -> Chain:
    read = [(rule, *marks.read(rule)) for rule in chain.rules]
    return replace(chain, rules=tuple(general if number == current else rule for rule, general, number in read))


@dataclass(frozen=True, slots=True)
class Change:
    """Transactions in order, and what is live after them.

    Attributes:
        generation: whose names are in force.
        number: of the revision.
        scripts: only the last of them is felt.
        removals: to be sent when no packet can be in the rules of before any more.
        sweep: conntrack marks that bear other numbers than this must be cleared before, None for no sweep.
    """

    generation: str
    number: int
    scripts: tuple[str, ...]
    removals: tuple[str, ...] = ()
    sweep: int | None = None


def change(old: Held | None, new: Program, marks: Marks, piece: int = PIECE) -> Change:
    """How to get from one program to the other; no scripts when there is nothing to do.

    Args:
        old: what the kernel holds; None where there is no table of ours.
        new: what it must hold.
        marks: the conntrack mark bits in use.
        piece: rules and elements that one transaction may carry.
    """
    if old is None:
        pen = _Pen(marks, marks.first)
        return Change(GENERATIONS[0], pen.number, tuple(_load(GENERATIONS[0], new, None, piece, pen)), sweep=0)
    lines = _difference(old.program, new)
    if lines is not None and not lines.fresh and not lines.felt:
        pen = _Pen(marks, old.number)
        return Change(old.generation, old.number, tuple(_clean(old)), pen.parts(old.generation, lines.gone))
    wraps = not marks.first <= old.number < marks.most
    pen = _Pen(marks, marks.first if wraps else old.number + 1)
    sweep = old.number if wraps else None
    if lines is None or lines.weight > piece:
        other = GENERATIONS[1 - GENERATIONS.index(old.generation)]
        return Change(
            other, pen.number, (*_clean(old), *_load(other, new, old, piece, pen)), tuple(_retire(old)), sweep
        )
    scripts = pen.parts(old.generation, lines.fresh, lines.felt)
    return Change(old.generation, pen.number, (*_clean(old), *scripts), pen.parts(old.generation, lines.gone), sweep)


@dataclass(frozen=True, slots=True)
class _Pen:
    """Writes `~` names and CURRENT marks as the kernel is to hold them."""

    marks: Marks
    number: int

    def written(self, lines: list[str], generation: str) -> str:
        return self.marks.write(_named("\n".join(lines) + "\n", generation), self.number)

    def parts(self, generation: str, *parts: list[str]) -> tuple[str, ...]:
        """A transaction each, none for what is empty."""
        return tuple(self.written(part, generation) for part in parts if part)


@dataclass(frozen=True, slots=True)
class _Lines:
    """A change in place.

    Attributes:
        fresh: chains that nothing leads to yet, and the sets that they name.
        felt: all that takes effect.
        gone: the end of what nothing leads to any more.
        weight: rules and elements in `fresh` and `felt`.
    """

    fresh: list[str]
    felt: list[str]
    gone: list[str]
    weight: int


def _difference(old: Program, new: Program) -> _Lines | None:
    """The lines of a change in place; None where an object must be made anew under its name."""
    if any(name in old.sets and not _same_kind(old.sets[name], found) for name, found in new.sets.items()):
        return None
    kept = {name for name in new.chains if name in old.chains}
    if any(_fixed(old.chains[name]) != _fixed(new.chains[name]) for name in kept):
        return None
    # Chains first: libnftables 1.0.6 sends an interval map's elements with its declaration, and they name chains.
    added = [name for name in new.chains if name not in old.chains]
    chains = [name for name in added if not new.chains[name].base]
    sets = {name: found for name, found in new.sets.items() if name not in old.sets}
    fresh = [_declare_chain(name, new.chains[name]) for name in chains]
    fresh += [_declare(name, found) for name, found in sets.items()]
    fresh += [line for name in chains for line in _rule_lines(name, new.chains[name])]
    weight = len(fresh)
    _, adds, heavy = _element_lines({}, sets)
    fresh += adds
    replaced = sorted(name for name in kept if old.chains[name] != new.chains[name])
    bases = [name for name in added if new.chains[name].base]
    felt = [_declare_chain(name, new.chains[name]) for name in bases]
    felt += [line for name in bases for line in _rule_lines(name, new.chains[name])]
    felt += [line for name in replaced for line in _rewrite(name, new.chains[name])]
    deletes, adds, more = _element_lines(old.sets, {name: new.sets[name] for name in new.sets if name in old.sets})
    felt += [*deletes, *adds]
    weight += heavy + len(felt) + more
    if not chains:  # only a chain can be found empty by a packet under way
        fresh, felt = [], [*fresh, *felt]
    if fresh or felt:  # every change brings a new number, which the chains that speak of it must learn
        speaking = [name for name in sorted(kept.difference(replaced)) if _speaks(new.chains[name])]
        felt += [line for name in speaking for line in _rewrite(name, new.chains[name])]
    return _Lines(fresh, felt, _gone(old, new), weight)


def with_leftovers(old: Program, new: Program) -> Program:
    """The new program and what of the old one still stands beside it."""
    return replace(new, sets={**old.sets, **new.sets}, chains={**old.chains, **new.chains})


def clashes(holds: Program, applied: Program, new: Program) -> bool:
    """Reports whether a chain that was left over is wanted again with other rules: nobody may meet those of then."""
    left = holds.chains.keys() - applied.chains.keys()
    return any(new.chains.get(name, holds.chains[name]) != holds.chains[name] for name in left)


def _gone(old: Program, new: Program) -> list[str]:
    chains = sorted(name for name in old.chains if name not in new.chains)
    sets = sorted(name for name in old.sets if name not in new.sets)
    lines = [f"flush chain {_FULL} {name}" for name in chains]
    lines += [f"delete {old.sets[name].keyword} {_FULL} {name}" for name in sets]
    return [*lines, *(f"delete chain {_FULL} {name}" for name in chains)]


def brought(old: Held | None, new: Program, todo: Change) -> dict[str, tuple[str, dict[str, str]]] | None:
    """By set, the command by which nft reads back what a change brought to it, and the elements that must be shown.

    A transaction lands whole or not at all, so its elements speak for its chains. None where they do not: the table is
    made anew, or the change brings none.
    """
    if old is None or todo.generation != old.generation or not todo.scripts:
        return None
    found = {}
    for name, wanted in new.sets.items():
        before = old.program.sets[name].elements if name in old.program.sets else {}
        won = {key: data for key, data in wanted.elements.items() if before.get(key) != data}
        kernel = f"{_FULL} {_named(name, todo.generation)}"
        if won and (wanted.flags or len(won) > _BATCH):
            found[name] = f"list {wanted.keyword} {kernel}", dict(wanted.elements)
        elif won:
            found[name] = f"get element {kernel} {{ {', '.join(won)} }}", won
    return found or None


def shows(listing: Program, name: str, elements: Mapping[str, str], generation: str) -> bool:
    """Whether a listing of this set shows just these elements."""
    shown = listing.sets.get(_named(name, generation))
    return shown is not None and _general_set(shown, generation).elements == elements


def _element_lines(old: Mapping[str, NftSet], new: Mapping[str, NftSet]) -> tuple[list[str], list[str], int]:
    deletes: list[str] = []
    adds: list[str] = []
    weight = 0
    for name, found in new.items():
        before = old[name].elements if name in old else {}
        lost = [key for key, data in before.items() if found.elements.get(key) != data]
        won = {key: data for key, data in found.elements.items() if before.get(key) != data}
        deletes += _elements("delete", name, dict.fromkeys(lost, ""))
        adds += _elements("add", name, won)
        weight += len(lost) + len(won)
    return deletes, adds, weight


def _load(generation: str, new: Program, old: Held | None, piece: int, pen: _Pen) -> list[str]:
    """The whole program under a generation that nothing refers to, and the flip."""
    inner = {name: chain for name, chain in new.chains.items() if not chain.base}
    lines = [_declare_chain(name, chain) for name, chain in inner.items()]
    lines += [_declare(name, found) for name, found in new.sets.items()]
    lines += [line for name, chain in inner.items() for line in _rule_lines(name, chain)]
    lines += [line for name, found in new.sets.items() for line in _elements("add", name, found.elements)]
    flip = []
    for name, chain in new.chains.items():
        if chain.base:
            flip += _rebase(name, chain, old)
    found = [pen.written(part, generation) for part in _pieces(lines, piece)]
    found[0] = f"add table inet {TABLE}\n{found[0]}"
    found.append(pen.written(flip, generation))
    return found


def _rebase(name: str, chain: Chain, old: Held | None) -> list[str]:
    before = old.program.chains.get(name) if old else None
    lines = [] if before is None else [f"flush chain {_FULL} {name}"]
    if before is not None and before.base != chain.base:
        lines.append(f"delete chain {_FULL} {name}")
    return [*lines, _declare_chain(name, chain), *_rule_lines(name, chain)]


def _speaks(chain: Chain) -> bool:
    return any("CURRENT" in rule for rule in chain.rules)


def _rewrite(name: str, chain: Chain) -> list[str]:
    return [f"flush chain {_FULL} {name}", *_rule_lines(name, chain)]


def _rule_lines(name: str, chain: Chain) -> list[str]:
    return [f"add rule {_FULL} {name} {rule}" for rule in chain.rules]


def _retire(old: Held) -> list[str]:
    chains = [_named(name, old.generation) for name, chain in old.program.chains.items() if not chain.base]
    sets = {_named(name, old.generation): found.keyword for name, found in old.program.sets.items()}
    return _removal(chains, sets)


def _clean(old: Held) -> list[str]:
    """Wake a dormant table (naming it without flags clears them), and remove what belongs to no generation."""
    wake = [f"add table {_FULL}\n"] if old.program.flags else []
    return wake + _removal(list(old.litter_chains), dict(old.litter_sets))


def _removal(chains: list[str], sets: dict[str, str]) -> list[str]:
    lines = [f"flush chain {_FULL} {name}" for name in chains]
    lines += [f"delete {keyword} {_FULL} {name}" for name, keyword in sets.items()]
    lines += [f"delete chain {_FULL} {name}" for name in chains]
    return ["\n".join(lines) + "\n"] if lines else []


_FULL = f"inet {TABLE}"
_BATCH = 250
"""Elements on one line: a line is one message of the transaction."""


def _declare(name: str, found: NftSet) -> str:
    return f"add {found.keyword} {_FULL} {name} {{ {found.declaration()} }}"


def _declare_chain(name: str, chain: Chain) -> str:
    inner = [chain.base] if chain.base else []
    inner += [f'comment "{chain.comment}";'] if chain.comment else []
    return f"add chain {_FULL} {name}" + (f" {{ {' '.join(inner)} }}" if inner else "")


def _elements(verb: str, name: str, elements: Mapping[str, str]) -> list[str]:
    texts = [f"{key} : {data}" if data else key for key, data in elements.items()]
    batches = (texts[start : start + _BATCH] for start in range(0, len(texts), _BATCH))
    return [f"{verb} element {_FULL} {name} {{ {', '.join(batch)} }}" for batch in batches]


def _pieces(lines: list[str], piece: int) -> Iterator[list[str]]:
    part: list[str] = []
    weight = 0
    for line in lines:
        cost = line.count(",") + 1
        if part and weight + cost > piece:
            yield part
            part, weight = [], 0
        part.append(line)
        weight += cost
    yield part


def _same_kind(one: NftSet, other: NftSet) -> bool:
    return one.declaration() == other.declaration()


def _fixed(chain: Chain) -> tuple[str, str]:
    return chain.base, chain.comment


def _named(name: str, generation: str) -> str:
    return name.replace("~", f"{generation}_")


def _general(text: str, generation: str) -> str:
    return _OWN.sub(lambda found: "~" if found.group(1) == generation else found.group(0), text)


def _general_set(found: NftSet, generation: str) -> NftSet:
    if not found.data:
        return found
    elements = {key: _general(data, generation) for key, data in found.elements.items()}
    return NftSet(found.type, elements, found.flags, found.data)


def _general_chain(chain: Chain, generation: str) -> Chain:
    return Chain(tuple(_general(rule, generation) for rule in chain.rules), chain.base, chain.comment)
