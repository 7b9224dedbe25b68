"""What goes to the kernel, as text to be read in review: tests/golden/nftables/<case>.nft.

`UPDATE_GOLDEN=1 pytest tests/dataplane/nftables/test_render.py` writes the files anew; read the difference before it is
committed. A form of rule that frame, profile or render can write and that no golden file shows fails a test.
"""

import ast
import os
import re
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from random import Random
from typing import Any

import pytest

from build import NODE1, NODE2, block, pod, policy, port, rule, select, space
from inside import run_inside
from labs import nft_here
from programs import program_of, random_program
from vallum.dataplane.nftables import frame, profile, render
from vallum.dataplane.nftables.profile import CELLS, OWN_RULE
from vallum.dataplane.nftables.program import Program, text
from vallum.model.objects import SCTP, UDP, NamedPort, Object, Peer
from vallum.model.selector import EVERYTHING

GOLDEN = Path(__file__).parents[2] / "golden" / "nftables"
UPDATE = os.environ.get("UPDATE_GOLDEN") == "1"

SERVER = pod("a/server", "10.44.1.10", "fd44:0:0:1::10", app="server", ports=(NamedPort("http", 6, 8080),))
CLIENT = pod("a/client", "10.44.1.11", "fd44:0:0:1::11", app="client")
REMOTE = pod("b/remote", "10.44.2.10", "fd44:0:0:2::10", app="remote", node="node2")
BASE: tuple[Object, ...] = (NODE1, NODE2, *map(space, "abcd"), SERVER, CLIENT, REMOTE)
MANY = tuple(
    pod(f"c/p{n}", f"10.44.2.{20 + n}", f"fd44:0:0:2::{20 + n:x}", app=f"p{n}", node="node2") for n in range(8)
)


def guard(*rules: object) -> tuple[Object, ...]:
    return (*BASE, policy("a/guard", select(app="server"), ingress=rules))  # type: ignore[arg-type]


def each(*entries: object) -> tuple[Object, ...]:
    """Every pod of c may use a port entry of its own: more groups than get a rule each."""
    rules = [
        rule(Peer(select(app=f"p{n}"), EVERYTHING), ports=[entry])  # type: ignore[list-item]
        for n, entry in enumerate(entries)
    ]
    return (*BASE, *MANY, policy("a/guard", select(app="server"), ingress=rules))


def too_many_cells() -> tuple[Object, ...]:
    """More groups than get a rule each, and one of them with more addresses x ports than cells should hold."""
    ports = [port(2 * number) for number in range(1, CELLS // 2 + 2)]  # neighbours would join to a range
    big = pod("c/big", "10.44.2.90", app="big", node="node2"), pod("c/big2", "10.44.2.91", app="big", node="node2")
    groups = [
        pod(f"c/g{n}x{m}", f"10.44.2.{100 + 4 * n + m}", app=f"g{n}", node="node2") for n in range(5) for m in range(3)
    ]
    own = [rule(Peer(select(app=f"g{n}"), EVERYTHING), ports=[port(20000 + n)]) for n in range(5)]
    return (
        *BASE,
        *big,
        *groups,
        policy("a/guard", select(app="server"), [*own, rule(Peer(select(app="big"), EVERYTHING), ports=ports)]),
    )


CASES: dict[str, tuple[tuple[Object, ...], dict[str, Any]]] = {
    "empty": ((NODE1,), {}),
    "no-policies": (BASE, {}),
    "without-marks": (guard(rule(ports=[port(80)])), {"marks": False}),
    "closed-ranges": (BASE, {"closed": (ip_network("10.44.1.0/24"), ip_network("fd44:0:0:1::/64"))}),
    "bridged-pods": (BASE, {"bridged": True}),
    "deny-all": ((*BASE, policy("a/deny", ingress=[], egress=[])), {}),
    "allow-all": (guard(rule()), {}),
    "any-peer-one-port": (guard(rule(ports=[port(80)])), {}),
    "any-peer-ports": (guard(rule(ports=[port(80), port(53, protocol=UDP), port(9, 12, SCTP)])), {}),
    "any-peer-range": (guard(rule(ports=[port(1000, 2000)])), {}),
    "any-peer-ranges": (guard(rule(ports=[port(1000, 2000), port(3000, 4000), port(1, 600, UDP)])), {}),
    "any-peer-protocol": (guard(rule(ports=[port(None, protocol=SCTP)])), {}),
    "peer-everything": (guard(rule(Peer(pods=select(app="client")))), {}),
    "peer-protocol": (guard(rule(Peer(pods=select(app="client")), ports=[port(None, protocol=UDP)])), {}),
    "peer-ranges": (
        guard(rule(Peer(pods=select(app="client")), ports=[port(80), port(1000, 2000), port(3000, 4000)])),
        {},
    ),
    "peer-ports": (guard(rule(Peer(pods=select(app="client")), ports=[port(80), port("http")])), {}),
    "block-everything": (guard(rule(block("203.0.113.0/24", "203.0.113.64/26"), block("2001:db8::/32"))), {}),
    "block-ports": (guard(rule(block("203.0.113.0/24"), ports=[port(80), port(5000, 6000)])), {}),
    "egress": ((*BASE, policy("a/out", egress=[rule(Peer(namespaces=EVERYTHING), ports=[port("http")])])), {}),
    "many-groups": (each(*(port(8000 + n) for n in range(8))), {}),
    "many-groups-ranges": (each(*(port(8000 + 100 * n, 8050 + 100 * n) for n in range(8))), {}),
    "many-groups-everything": (each(*(port(8000 + n) for n in range(7)), port(None)), {}),
    "many-blocks": (
        guard(
            *(rule(block(f"203.0.113.{16 * n}/28"), ports=[port(8000 + n)]) for n in range(OWN_RULE + 3)),
            rule(block("198.51.100.0/24")),
        ),
        {},
    ),
    "one-family": (
        (NODE1, pod("a/four", "10.44.1.4"), pod("a/six", "fd44:0:0:1::6"), policy("a/deny", ingress=[])),
        {},
    ),
    "long-names": (
        (*BASE, *(policy(f"a/{'long-' * 11}{n}", ingress=[]) for n in range(4))),
        {},
    ),
}  # fmt: skip


def rendered(name: str) -> str:
    things, options = CASES[name]
    return text(program_of(things, **options))


@pytest.mark.parametrize("name", CASES)
def test_the_program_is_the_golden_one(name: str):
    file = GOLDEN / f"{name}.nft"
    if UPDATE:
        GOLDEN.mkdir(parents=True, exist_ok=True)
        file.write_text(rendered(name), encoding="utf-8")
    assert rendered(name) == file.read_text(encoding="utf-8"), "see the head of this file to refresh"


def test_no_golden_file_is_left_without_its_case():
    assert {file.stem for file in GOLDEN.glob("*.nft")} == set(CASES)


# is the table complete?


def forms() -> Iterator[tuple[str, str]]:
    """Every rule that the source can write: where, and a pattern for it (what is filled in matches anything)."""
    for module in (frame, profile, render):
        path = Path(str(module.__file__))
        tree = ast.parse(path.read_text(encoding="utf-8"))
        inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)} - {
            id(node) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)
        }
        prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if id(node) in prose or id(node) in inner:
                continue
            pattern = _pattern(node)
            if pattern and _RULE.search(pattern):
                yield f"{path.name}:{getattr(node, 'lineno', 0)}", _oriented(pattern)


_RULE = re.compile(r"(?:\\ |^)(?:return|accept|goto|jump|vmap|drop|log|counter|set)(?:\\ |$)")


def _pattern(node: ast.AST) -> str:
    match node:
        case ast.Constant(value=str(value)):
            return re.escape(value)
        case ast.JoinedStr(values=values):
            return "".join(_pattern(value) if isinstance(value, ast.Constant) else ".+" for value in values)
        case _:
            return ""


def _oriented(pattern: str) -> str:
    """Placeholders of rules that are written once for all looks."""
    filled = pattern.replace("REMOTE", "ip6? [sd]addr").replace("PORT", "[sd]port").replace("FAN:", ".*")
    return filled.replace("CURRENT", "(?:CURRENT)")


def lines_of(golden: str) -> list[str]:
    """Rules of chains and elements of verdict maps."""
    return [line.strip() for line in golden.splitlines() if line.startswith("\t\t")]


def test_every_form_of_rule_in_the_source_has_a_golden_case():
    lines = [line for name in CASES for line in lines_of((GOLDEN / f"{name}.nft").read_text(encoding="utf-8"))]
    found = list(forms())
    assert len(found) > 25, "the search for forms in the source finds too little"
    missing = [(where, form) for where, form in found if not any(re.search(form, line) for line in lines)]
    assert missing == []


def shape(line: str) -> str:
    """A rule without its names, addresses and numbers."""
    line = re.sub(r"@~\w+", "@SET", line)
    line = re.sub(r"~\w+", "CHAIN", line)
    line = re.sub(r"ip saddr [\d./]+ ", "ip saddr PREFIX ", line)
    line = re.sub(r"\b(?:tcp|udp|sctp) ([sd]port)", r"PROTOCOL \1", line)
    line = re.sub(r"ip6? [sd]addr", "ADDR", line)  # the look decides
    return re.sub(r"[sd](port) ?([\d-]*)|(l4proto) \d+", r"\1\3 N", line)


def rules_of(program: Program) -> set[str]:
    return {shape(line) for chain in program.chains.values() for line in chain.rules}


def test_every_shape_of_rule_in_random_worlds_stands_in_a_golden_case():
    golden: set[str] = set()
    for things, options in CASES.values():
        golden |= rules_of(program_of(things, **options))
    for seed in range(40):
        assert rules_of(random_program(Random(seed))) <= golden, f"seed {seed}"


# bounds


def test_the_number_of_rules_a_packet_meets_does_not_grow_with_peers_and_policies():
    few = each(*(port(8000 + n) for n in range(8)))
    many = [pod(f"d/p{n}", f"10.45.{n // 250}.{n % 250 + 1}", app=f"q{n}", node="node2") for n in range(600)]
    rules = [rule(Peer(select(app=f"q{n}"), EVERYTHING), ports=[port(9000 + n)]) for n in range(600)]
    small, large = program_of(few), program_of((*few, *many, policy("a/more", select(app="server"), ingress=rules)))
    assert max(len(chain.rules) for chain in large.chains.values()) <= max(
        len(chain.rules) for chain in small.chains.values()
    )
    assert len(large.chains) == len(small.chains)
    assert len(large.sets) <= len(small.sets)


def test_a_group_with_too_many_cells_goes_to_a_leaf_chain():
    program = program_of(too_many_cells())
    cells = [name for name in program.sets if name.endswith("_cells")]
    assert sum(len(program.sets[name].elements) for name in cells) < CELLS
    assert any(name.endswith("_peers") for name in program.sets)


@pytest.mark.stance(21)
def test_comments_of_many_policies_end_in_a_count_and_fit():
    names = [chain.comment for chain in program_of(CASES["long-names"][0]).chains.values() if chain.comment]
    assert names
    assert all(len(name) <= 128 and name.endswith("more") for name in names)


@pytest.mark.packets
def test_every_golden_program_is_taken_by_the_kernel_and_printed_as_it_was_written():
    def piece() -> list[str]:
        from vallum.dataplane.nftables.plane import NftablesPlane  # noqa: PLC0415 - opens libnftables

        wrong = []
        for name, (things, options) in CASES.items():
            plane = NftablesPlane()
            program = program_of(things, **options)
            plane.apply(program)
            read = plane.read()
            if read is None or (read.sets, read.chains) != (program.sets, program.chains):
                wrong.append(name)
            nft_here("list", "ruleset")
        return wrong

    assert run_inside(piece) == []
