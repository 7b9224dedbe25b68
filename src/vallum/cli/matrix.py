"""`vallum matrix`: who reaches whom, of files or of a live node; computed in `analysis.matrix`, printed here."""

import csv
import sys
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path

import click

from vallum.analysis.matrix import ALWAYS, Cell, Connection, Matrix
from vallum.analysis.parties import FAMILIES, By, Party, usual
from vallum.analysis.ranges import texts
from vallum.cli.node import chosen_world, world_options
from vallum.cli.output import show_data, table
from vallum.model.address import pack
from vallum.model.errors import InputError
from vallum.model.objects import PROTOCOLS
from vallum.sources.world import snapshot

_WIDE = 8
"""Columns up to which a table is a square; beyond it is a list."""
Service = tuple[int, int]
Answer = tuple[Connection, str]


@click.command("matrix")
@world_options
@click.option(
    "--by", type=click.Choice([str(by) for by in By]), help="Rows and columns; default: workloads where there are some."
)
@click.option("--namespace", help="Only connections with an end in this namespace.")
@click.option("--from", "sources", multiple=True, metavar="PARTY", help="Only from this row, pod, or address.")
@click.option("--to", "targets", multiple=True, metavar="PARTY", help="Only to this row, pod, or address.")
@click.option("--port", "port", metavar="PORT[/PROTO]", help="Only whether this port is reached: yes, some or no.")
@click.option("--family", type=click.Choice(["4", "6"]), help="Only this address family; default: both.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json", "yaml", "csv", "dot"]),
    default="table",
    show_default=True,
    help="Form of output; dot is for Graphviz.",
)
def command(
    path: str | None,
    api: str | None,
    node: bool,
    socket: Path | None,
    by: str | None,
    namespace: str | None,
    sources: tuple[str, ...],
    targets: tuple[str, ...],
    port: str | None,
    family: str | None,
    output: str,
) -> None:
    """Who reaches whom: pods, workloads or namespaces, nodes, and the ranges outside that policies tell apart.

    Exact, on every port. Of a group, `all` is what every pair of members has, `some` what only some have.

    \b
      vallum matrix -f examples/shop
      vallum matrix -f examples/shop --to shop/web --port 8080/TCP
      vallum matrix -f examples/shop -o dot | dot -Tsvg > shop.svg
    """
    world = snapshot(chosen_world(path, api, socket, node=node))
    chosen = By(by) if by else usual(world)
    found = Matrix(world, chosen, (int(family),) if family else FAMILIES)
    rows = [_named(found.parties, name, "--from") for name in sources] or list(found.parties)
    columns = [_named(found.parties, name, "--to") for name in targets] or list(found.parties)
    service = _service(port) if port else None
    if output == "table":
        _Table(found, service, namespace, rows, columns).show(said_by=by)
    else:
        connections = (one for one in found.connections(rows, columns) if _within(one, namespace))
        _write(output, found, connections, service)


def _within(one: Connection, namespace: str | None) -> bool:
    return namespace is None or namespace in (_namespace(one.source), _namespace(one.target))


def _namespace(party: Party) -> str | None:
    return party.name.partition("/")[0] if party.inside else None


def _named(parties: Sequence[Party], name: str, option: str) -> Party:
    """A row by its own name, by a pod that is in it, or by an address of its ranges or members."""
    for party in parties:
        if name == party.name or (party.inside and "/" in name and name in party.names()):
            return party
    try:
        packed = pack(ip_address(name))
    except ValueError:
        rows = ", ".join(party.name for party in parties[:6])
        raise InputError(option, f"there is no row, pod or address {name!r}; rows are {rows} ...") from None
    for party in parties:
        if any(member.address == packed for found in party.members.values() for member in found):
            return party
    return next(party for party in parties if party.covers(packed))


def _service(text: str) -> Service:
    number, _, name = text.partition("/")
    protocol = PROTOCOLS.get((name or "TCP").upper())
    if protocol is None or not number.isdecimal() or not 1 <= int(number) <= 65535:
        raise InputError("--port", f"PORT or PORT/PROTO, such as 5432 or 53/UDP; got {text!r}")
    return protocol, int(number)


def _write(output: str, matrix: Matrix, connections: Iterable[Connection], service: Service | None) -> None:
    if service is None:
        told = (({"all": texts(one.cell.all), "some": texts(one.cell.some)}, one) for one in connections)
    else:
        answers = ((one, one.cell.answer(*service)) for one in connections)
        told = (({"reaches": [answer]}, one) for one, answer in answers if answer != "no")
    if output == "dot":
        _dot(matrix, told)
    elif output == "csv":
        _csv(told, ["reaches"] if service else ["all", "some"])
    else:
        found = [{"from": one.source.name, "to": one.target.name} | _flat(facts) for facts, one in told]
        show_data(matrix.facts(()) | {"connections": found}, output)


Told = Iterable[tuple[dict[str, list[str]], Connection]]


def _flat(facts: dict[str, list[str]]) -> dict[str, object]:
    return {key: values[0] if key == "reaches" else values for key, values in facts.items()}


def _csv(told: Told, columns: list[str]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["from", "to", *columns])
    for facts, one in told:
        writer.writerow([one.source.name, one.target.name, *(" ".join(facts[column]) for column in columns)])


_SHAPES = {"outside": "ellipse", "node": "component"}


def _dot(matrix: Matrix, told: Told) -> None:
    """A digraph: an edge a connection, dashed where only some pairs of members have it."""
    print("digraph matrix {\n  rankdir=LR;\n  node [shape=box];")
    for party in matrix.parties:
        shape = f" [shape={_SHAPES[party.kind]}]" if party.kind in _SHAPES else ""
        print(f"  {_quoted(party.name)}{shape};")
    for facts, one in told:
        certain = [] if facts.get("reaches") == ["some"] else facts.get("all", facts.get("reaches", []))
        maybe = facts.get("some", facts.get("reaches", []) if not certain else [])
        label = ", ".join([*certain, *(f"some {text}" for text in maybe)])
        style = "" if certain else ", style=dashed"
        print(f"  {_quoted(one.source.name)} -> {_quoted(one.target.name)} [label={_quoted(label)}{style}];")
    print("}")


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class _Table:
    """For people: a square where it is small, otherwise a list of the connections."""

    def __init__(
        self,
        matrix: Matrix,
        service: Service | None,
        namespace: str | None,
        rows: Sequence[Party],
        columns: Sequence[Party],
    ) -> None:
        self._matrix, self._service, self._namespace = matrix, service, namespace
        self._rows, self._columns = rows, columns

    def show(self, *, said_by: str | None) -> None:
        """Print it, and say what the rows are where nobody asked for them."""
        if len(self._columns) <= _WIDE:
            table(
                "", ["from \\ to", *(_broken(party.name) for party in self._columns)], list(map(self._row, self._rows))
            )
        else:
            table("", ["from", "reaches", "some reach", "to"], [*self._lines()])
        why = "pods belong to some" if self._matrix.by is By.WORKLOAD else "no pod belongs to a workload"
        print(f"by {self._matrix.by}{'' if said_by else f', because {why}'}; {'; '.join(ALWAYS)}")

    def _connections(self) -> Iterable[Connection]:
        return (one for one in self._matrix.connections(self._rows, self._columns) if _within(one, self._namespace))

    def _row(self, source: Party) -> list[str]:
        return [source.name, *(self._text(source, target) for target in self._columns)]

    def _text(self, source: Party, target: Party) -> str:
        cell = self._matrix.cell(source, target)
        if cell is None or not _within(Connection(source, target, cell), self._namespace):
            return ""
        if self._service:
            return cell.answer(*self._service)
        return _both(cell) or "·"

    def _lines(self) -> Iterator[list[str]]:
        """Targets that a row reaches on the same ports stand together."""
        together: dict[tuple[str, str, str], list[str]] = {}
        for one in self._connections():
            certain, maybe = self._words(one.cell)
            if certain or maybe:
                together.setdefault((one.source.name, certain, maybe), []).append(one.target.name)
        for words, targets in together.items():
            yield [*words, ", ".join(targets)]

    def _words(self, cell: Cell) -> tuple[str, str]:
        if self._service is None:
            return ", ".join(texts(cell.all)), ", ".join(texts(cell.some))
        answer = cell.answer(*self._service)
        return ("yes" if answer == "yes" else ""), ("yes" if answer == "some" else "")


def _both(cell: Cell) -> str:
    certain = ["■"] if texts(cell.all) == ["everything"] else texts(cell.all)
    return "\n".join([*certain, *(f"some {text}" for text in texts(cell.some))])


def _broken(name: str) -> str:
    return name.replace("/", "/\n").replace(" except ", "\nexcept ")
