"""`vallum ipam topology`: the tree of groups, a new one over a living ledger, and its two written forms."""

import sys
from typing import Any

import click

from vallum.cli.ipam import tree
from vallum.cli.ipam.change import show_change
from vallum.cli.ipam.layout import read_layout
from vallum.cli.ipam.store import Where, decided, dry_run_option, opened, store_options
from vallum.cli.ipam.words import Listing
from vallum.cli.output import format_option, show_data, table
from vallum.ipam import own, romana
from vallum.ipam.plan import Move, Plan, plan
from vallum.ipam.records import Change
from vallum.ipam.state import State
from vallum.sources.write import stream, yaml_of


@click.group("topology", cls=Listing)
def command() -> None:
    """The tree of groups. A change of it is one step: it happens as planned, or is refused and nothing is touched.

    FILE holds our YAML (kinds Network, Topology, Blackout) or Romana's topology JSON as it is; a folder or - for
    standard input will do as well. What the file leaves out is removed, blackouts excepted.

    \b
      vallum ipam topology
      vallum ipam topology plan new.yaml       which hosts and addresses stay, and which hosts move
      vallum ipam topology set new.yaml
      vallum ipam topology export --romana > topology.json
    """


@command.command("list")
@store_options
@format_option
def list_groups(where: Where, output: str) -> None:
    """Every group with its range, what it asks of a host, and who is there."""
    with opened(where) as store:
        state = store.state()
    if output != "table":
        show_data(own.write(state), output)
        return
    if not state.networks:
        print("no network; begin with `vallum ipam topology set FILE` (examples/topologies has some)")
        return
    table(
        "",
        ["topology", "range", "labels", "routing", "hosts"],
        [row for name in state.topologies for row in _rows(state, name)],
    )


def _rows(state: State, name: str) -> list[list[str]]:
    rows = []
    for network in state.topologies[name].networks:
        rows.append([f"{name}: {network}", str(state.networks[network].cidr), "", "", ""])
        at: dict[tuple[int, ...], list[str]] = {}
        for host in sorted(state.hosts):
            for each in state.hosts[host].places:
                if each.network == network:
                    at.setdefault(each.path, []).append(host)
        for line in tree.lines(tree.branches(state, state.networks[network], 0.0)):
            spot = line.branches[0].spot
            labels = ",".join(f"{key}={value}" for key, value in spot.group.assignment)
            rows.append(
                [f"{line.lead}{line.label}", line.span, labels, spot.group.routing, _some(at.get(spot.path, []))]
            )
    return rows


def _some(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


@command.command("plan")
@click.argument("path", metavar="FILE")
@store_options
@format_option
def plan_only(path: str, where: Where, output: str) -> None:
    """Say what FILE would do: which hosts and addresses stay, which hosts move. The same as `set --dry-run`.

    Refused (exit 2) is what would strand an address that is in use, each named.
    """
    _lay(path, where, output, dry=True)


@command.command("set")
@click.argument("path", metavar="FILE")
@dry_run_option
@store_options
@format_option
def set_layout(path: str, dry: bool, where: Where, output: str) -> None:
    """Lay networks and groups anew as FILE says, at once. Prefixes with hosts in them never move.

    Refused (exit 2), with nothing touched: what would strand an address that is in use, and what cannot be meant.
    """
    _lay(path, where, output, dry=dry)


@command.command("export")
@click.option("--romana", "as_romana", is_flag=True, help="Romana 2.0's JSON; what it has no words for is refused.")
@click.option("-o", "--output", type=click.Choice(["yaml", "json"]), default="yaml", show_default=True)
@store_options
def export(as_romana: bool, output: str, where: Where) -> None:
    """Write networks, groups and blackouts in our own form, or Romana's; `topology set` reads either."""
    with opened(where) as store:
        state = store.state()
    if as_romana:
        show_data(romana.write(state), "json")
    elif output == "json":
        show_data({"apiVersion": "v1", "kind": "List", "items": own.write(state)}, "json")
    else:
        sys.stdout.write(stream(map(yaml_of, own.write(state))))


def _lay(path: str, where: Where, output: str, *, dry: bool) -> None:
    layout = read_layout(path)

    with opened(where, create=True, dry=dry) as store:

        def decide(state: State) -> tuple[Change, Plan]:
            found = plan(state, layout)
            return store.ours(state, found.change), found

        done = decided(store, decide, dry=dry)
    found = done.result
    lines = [
        f"{found.hosts_stay} hosts and {found.addresses_stay} addresses stay where they are",
        *(f"host {each.host} moves in {each.network}: {_way(each)}" for each in found.moves),
    ]
    answer: dict[str, Any] = {
        "hostsStay": found.hosts_stay,
        "addressesStay": found.addresses_stay,
        "moves": [_move_facts(each) for each in found.moves],
    }
    show_change(done.change, output, dry=dry, answer=answer, lines=lines)


def _way(move: Move) -> str:
    return f"{move.before or 'nowhere'} -> {move.after or 'nowhere'}"


def _move_facts(move: Move) -> dict[str, str | None]:
    before, after = (str(each) if each else None for each in (move.before, move.after))
    return {"host": move.host, "network": move.network, "before": before, "after": after}
