"""Lint: what is wrong, useless or surprising in a world, by rule, with a cure. Every rule stands in docs/lint.md.

A finding names an object and a path in it; whoever knows files (`sources.places`) says where that is written. So
the same rules serve a folder and a live node. Pure; nothing here is quadratic over the world.
"""

from collections.abc import Iterator

from vallum.analysis.lint.facts import Facts
from vallum.analysis.lint.finding import Finding
from vallum.analysis.lint.table import CHECKS
from vallum.analysis.lint.written import Written
from vallum.model.snapshot import Snapshot


def lint(snapshot: Snapshot, written: Written) -> Iterator[Finding]:
    """Every finding about this world, in the order of the checks. `written`: what files say beyond the Snapshot."""
    facts = Facts(snapshot, written)
    for check in CHECKS:
        yield from check(facts)
