"""`vallum bench`: the measurements of `lab.bench`, each against a partner in the same run."""

import sys
from pathlib import Path

import click

from vallum.cli.output import format_option
from vallum.model.errors import InputError
from vallum.sources.folder import read_world

_quick = click.option("--quick", is_flag=True, help="The short form, for a first look and for CI.")


@click.group("bench")
def command() -> None:
    """Measure on this machine, in private network namespaces; no root, no Kubernetes.

    \b
      vallum bench policy-cost --quick       what does a request pay for 10,000 policies?
      vallum bench engine --quick            what does the compiler cost at 100,000 pods, and how does it grow?
      vallum bench restore --quick           another program flushes our rules: how long until they stand again?
      vallum bench policy-cost -o json > bench/policy-cost.json

    Every figure is a ratio against a partner measured in the same run, or a time against a stated limit, with its
    interval; the goals stand below the tables. Leave the machine alone meanwhile. Exit 0 when every goal is met, 1
    where one is not met or not shown (its interval reaches across the limit).
    """


@command.command("policy-cost")
@_quick
@format_option
def policy_cost(quick: bool, output: str) -> None:
    """The cost of policies for one request: Romana's measurement of 2016, rebuilt.

    A pod asks another, a new TCP connection a request, with nothing on the nodes, with connection tracking alone, and
    under nftables with 0 to 10,000 policies in five shapes: ports, peers, both, blocks, ranges. Before a cell is
    measured it must refuse the client without the last policy, which alone admits it.

    \b
      ratio     median against the same path without anything, the same size and family
      tracked   median against the same path with connection tracking alone

    --quick: half a kilobyte, {0, 200, 10,000} policies, two nodes for ports only; about a minute. In full: sizes up to
    1M, seven numbers of policies, both paths; about a quarter of an hour. The load tool is C and needs a compiler: gcc.
    """
    from vallum.lab.bench.policy_cost import run  # noqa: PLC0415 - --help need not pay for the lab

    sys.exit(run(quick, output, click.echo))


@command.command("engine")
@_quick
@format_option
def engine(quick: bool, output: str) -> None:
    """What the policy compiler costs, in time and memory, and how that grows.

    Worlds of 1,000, 10,000 and 100,000 pods with a tenth as many policies, decoded objects in memory: load them and
    compile one node's Tables; change a pod, a namespace, a policy; all selectors of the cluster; explain. A change is
    timed until Tables exist that decide by it. In the end the engine must equal a new one. Then the matrix of 10,000
    pods, and lint of a folder of 10,000 policies.

    --quick: 40 trials instead of 200, and neither unique labels nor 75,000 policies; about a minute.
    """
    from vallum.lab.bench.engine import run  # noqa: PLC0415 - --help need not pay for the lab

    sys.exit(run(quick, output, click.echo))


@command.command("restore")
@_quick
@format_option
@click.option("--world", "path", default=None, metavar="DIR", help="The shop, if it is not in ./examples/shop.")
def restore(quick: bool, output: str, path: str | None) -> None:
    """How long our rules are missing after another program broke them.

    The shop of examples/shop on two nodes with real agents. `nft` flushes the ruleset, deletes the table, flushes a
    chain, deletes a rule or an element, while a denied flow keeps trying. The clock runs from nft's commit until the
    kernel holds the table again, and until the last packet that slipped through; `status` must name the program and
    what it did. Goal: p99 below 100 ms.

    --quick: 10 trials of each, otherwise 50; 5 and 25 seconds.
    """
    from vallum.lab.bench.restore import run  # noqa: PLC0415 - --help need not pay for the lab

    objects = read_world(path or _shop()).objects
    sys.exit(run(objects, quick, output, click.echo))


def _shop() -> Path:
    here = Path("examples/shop")
    for folder in (here, Path(__file__).parents[3] / here):
        if folder.is_dir():
            return folder
    raise InputError("bench restore", "examples/shop is not here; run it in a clone, or give --world DIR")
