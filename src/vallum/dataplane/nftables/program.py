"""An nft table as data: sets, maps and chains in nft's own words, comparable with what the kernel is read to hold.

Rules are kept in the very spelling that `nft list` prints (1.0.2 to 1.1), so that reading back is string equality.
Own names start with `~`, which `change` turns into the generation in use (`a_` or `b_`); base chains have no `~`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

TABLE = "vallum"


@dataclass(frozen=True, slots=True)
class NftSet:
    """A named set, or a map when `data` names what its elements lead to. Elements: key text -> data text or ""."""

    type: str
    elements: Mapping[str, str] = field(default_factory=dict)
    flags: str = ""
    data: str = ""

    def declaration(self) -> str:
        """What stands between the braces, without elements."""
        typed = f"type {self.type} : {self.data};" if self.data else f"type {self.type};"
        return f"{typed} flags {self.flags};" if self.flags else typed

    @property
    def keyword(self) -> str:
        """`map` or `set`."""
        return "map" if self.data else "set"


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain: `base` is the type/hook/priority/policy line of a base chain."""

    rules: tuple[str, ...] = ()
    base: str = ""
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Program:
    """The whole table, and the interfaces that must have a strict reverse path filter (IPv4 source check).

    `flags`: of the table. Rendered ones have none; somebody who makes ours dormant has switched it off.
    """

    sets: Mapping[str, NftSet] = field(default_factory=dict)
    chains: Mapping[str, Chain] = field(default_factory=dict)
    strict: frozenset[str] = frozenset()
    flags: str = ""

    def size(self) -> int:
        """Elements in all sets: the figure that the cost of loading follows."""
        return sum(len(found.elements) for found in self.sets.values())


def text(program: Program) -> str:
    """The program as people read it: for golden files and dry runs."""
    lines = [f"table inet {TABLE} {{"]
    for name, found in sorted(program.sets.items()):
        lines.append(f"\t{found.keyword} {name} {{ {found.declaration()}")
        lines += [f"\t\t{key} : {data}" if data else f"\t\t{key}" for key, data in sorted(found.elements.items())]
        lines.append("\t}")
    for name, chain in sorted(program.chains.items()):
        lines.append(f"\tchain {name} {{")
        lines += [f"\t\t{line}" for line in (chain.base, f'comment "{chain.comment}"' * bool(chain.comment)) if line]
        lines += [f"\t\t{rule}" for rule in chain.rules]
        lines.append("\t}")
    lines.append("}")
    lines += [f"# strict reverse path on {name}" for name in sorted(program.strict)]
    return "\n".join(lines) + "\n"
