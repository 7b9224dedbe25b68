"""`vallum lint`: every problem of a folder of manifests, with its place, its rule and a cure."""

import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
import msgspec

from vallum import __version__
from vallum.analysis.lint import lint
from vallum.analysis.lint.finding import Level, show_path, show_place
from vallum.analysis.lint.ignores import Place, Placed, sift
from vallum.analysis.lint.invalid import invalid
from vallum.analysis.lint.spelling import Spelling
from vallum.analysis.lint.table import RULES
from vallum.analysis.lint.written import Written
from vallum.cli.node import live_world, node_option, socket_of, socket_option
from vallum.cli.output import show_data, wants_colour
from vallum.cli.world import api_option
from vallum.model.errors import InputError
from vallum.model.uncollected import uncollected
from vallum.sources.places import Places, Reading, read
from vallum.sources.world import snapshot
from vallum.sources.written import written

_COLOURS = {Level.ERROR: "red", Level.WARNING: "yellow", Level.NOTE: "cyan"}
_SARIF = "https://json.schemastore.org/sarif-2.1.0.json"


@click.command("lint")
@click.argument("path", metavar="DIR|FILE", required=False)
@click.option(
    "--level",
    type=click.Choice([str(level) for level in reversed(Level)]),
    default=str(Level.WARNING),
    show_default=True,
    help="The least that is shown, and that counts for the exit status.",
)
@click.option("--select", "selected", multiple=True, metavar="RULE", help="Only this rule, at any level; repeatable.")
@click.option("--ignore", "ignored", multiple=True, metavar="RULE", help="Not this rule; repeatable.")
@api_option
@node_option
@socket_option
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json", "yaml", "sarif"]),
    default="table",
    show_default=True,
    help="Form of output.",
)
def command(
    path: str | None,
    level: str,
    selected: tuple[str, ...],
    ignored: tuple[str, ...],
    api: str | None,
    node: bool,
    socket: Path | None,
    output: str,
) -> None:
    """Say what is wrong, useless or surprising in the policies of DIR (or, with --node, of the node's world).

    A finding is silenced by a comment on its line, on the line above, or on top of its document:

    \b
      # vallum: ignore RULE the reason why

    Manifests that cannot be read are findings too. Exit 0 without findings, 1 with some.
    """
    least = Level[level.upper()]
    for name in (*selected, *ignored):
        _check_rule(name)
    if path is None and not node and socket is None:
        raise InputError("", "no world is named; give a folder or file, or --node for what this node enforces")
    live = socket_of(path, socket, node=node)
    found = _live_findings(live) if live else findings(read(path or "", api))
    shown = [one for one in found if _wanted(one, least, selected, ignored)]
    if output == "sarif":
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(_sarif(shown)), indent=2) + b"\n")
    elif output == "table":
        _show(shown, len(found) - len(shown))
    else:
        show_data([_facts(one) for one in shown], output)
    sys.exit(1 if shown else 0)


def _check_rule(name: str) -> None:
    if name not in RULES:
        near = Spelling(RULES).nearest(name)
        raise InputError("", f"there is no rule {name}; {f'did you mean {near}?' if near else 'docs/lint.md has all'}")


def findings(reading: Reading) -> list[Placed]:
    """Every finding of a reading that no comment silences, by place."""
    with uncollected():
        places, world = Places(reading), reading.world
        found = [Placed(one, places.of(one.key, one.path)) for one in lint(snapshot(world), written(world))]
        kept = [*map(invalid, reading.errors), *sift(found, tuple(places.comments()))]
    return sorted(kept, key=lambda one: (one.place, one.finding.rule, one.finding.text))


def _live_findings(live: Path) -> list[Placed]:
    """Every finding about the world of a node, by object: there are no files, and nothing but the objects."""
    found = lint(snapshot(live_world(live)), Written())
    return sorted((Placed(one, Place(show_place(one.key, one.path), 0, 0)) for one in found), key=lambda one: one.place)


def _wanted(one: Placed, least: Level, selected: tuple[str, ...], ignored: tuple[str, ...]) -> bool:
    rule = one.finding.rule
    if rule in ignored:
        return False
    return rule in selected if selected else RULES[rule].level >= least


def _show(shown: Iterable[Placed], others: int) -> None:
    """One line a finding, as compilers write, then how many of each level."""
    counts: Counter[Level] = Counter()
    for one in shown:
        rule = RULES[one.finding.rule]
        counts[rule.level] += 1
        word = click.style(str(rule.level), fg=_COLOURS[rule.level], bold=True) if wants_colour() else str(rule.level)
        cure = f"; {one.finding.cure}" if one.finding.cure else ""
        click.echo(f"{one.place}: {word}: {one.finding.text}{cure} [{one.finding.rule}]")
    said = [f"{counts[level]} {level}{'s' * (counts[level] != 1)}" for level in reversed(Level) if counts[level]]
    rest = f" ({others} not shown)" if others else ""
    print(f"vallum: {', '.join(said) or 'nothing found'}{rest}", file=sys.stderr)


def _facts(one: Placed) -> dict[str, Any]:
    finding = one.finding
    return {
        "rule": finding.rule,
        "level": str(RULES[finding.rule].level),
        **({"file": one.place.file, "line": one.place.line, "column": one.place.column} if one.place.line else {}),
        "object": show_place(finding.key, ()).strip(),
        "path": show_path(finding.path),
        "text": finding.text,
        "suggestion": finding.cure,
    }


def _sarif(shown: Iterable[Placed]) -> dict[str, Any]:
    """Static Analysis Results Interchange Format 2.1.0, as code hosts show it beside the lines."""
    rules = [{"id": id_, "shortDescription": {"text": rule.summary}} for id_, rule in RULES.items()]
    results = [_sarif_result(one) for one in shown]
    driver = {"name": "vallum", "version": __version__, "rules": rules}
    return {"$schema": _SARIF, "version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": results}]}


def _sarif_result(one: Placed) -> dict[str, Any]:
    region = {"startLine": one.place.line, "startColumn": one.place.column}
    location = {"artifactLocation": {"uri": one.place.file}, "region": region}
    return {
        "ruleId": one.finding.rule,
        "level": str(RULES[one.finding.rule].level),
        "message": {"text": f"{one.finding.text}; {one.finding.cure}".rstrip("; ")},
        "locations": [{"physicalLocation": location}] if one.place.line else [],
    }
