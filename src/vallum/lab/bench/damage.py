"""What other programs do to our table, as `nft` commands: five ways, each of which opens what is denied.

They are run by the `nft` program itself, as restarting nftables.service or an impatient administrator would. Which
names exist depends on the generation in use, so commands are written after a look at the table as it stands.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vallum.model.address import Address

TABLE = "inet vallum"
_IN_FORCE = re.compile(r"goto (\w+)_anew")
_HANDLE = re.compile(r"# handle (\d+)")


@dataclass(frozen=True, slots=True)
class Damage:
    """`name` for people; `word` is what `status` must say was done; `command` is nft's, from a listing with handles."""

    name: str
    word: str
    command: Callable[[str, Address], Sequence[str]]


def _flush_ruleset(_listing: str, _victim: Address) -> Sequence[str]:
    return ("flush", "ruleset")


def _delete_table(_listing: str, _victim: Address) -> Sequence[str]:
    return ("delete", "table", *TABLE.split())


def _flush_chain(_listing: str, _victim: Address) -> Sequence[str]:
    return ("flush", "chain", *TABLE.split(), "judge")


def _delete_rule(listing: str, _victim: Address) -> Sequence[str]:
    """The rule that sends IPv4 packets to the ingress rules of their pod."""
    generation = _generation(listing)
    chain = f"{generation}_v4o"
    start = listing.index(f"chain {chain} {{")
    line = next(line for line in listing[start:].splitlines() if f"@{generation}_isolated_in4 jump" in line)
    found = _HANDLE.search(line)
    assert found, "nft -a shows a handle for each rule"
    return ("delete", "rule", *TABLE.split(), chain, "handle", found.group(1))


def _delete_element(listing: str, victim: Address) -> Sequence[str]:
    return ("delete", "element", *TABLE.split(), f"{_generation(listing)}_isolated_in4", f"{{ {victim} }}")


KINDS = (
    Damage("flush ruleset", "deleted table", _flush_ruleset),
    Damage("delete table", "deleted table", _delete_table),
    Damage("flush chain", "deleted rule", _flush_chain),
    Damage("delete rule", "deleted rule", _delete_rule),
    Damage("delete element", "deleted element", _delete_element),
)


def _generation(listing: str) -> str:
    found = _IN_FORCE.search(listing)
    assert found, "the base chain points at the generation in use"
    return found.group(1)
