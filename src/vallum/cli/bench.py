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
      vallum bench throughput --quick        how much of the way from host to host is left between pods?
      vallum bench routes --quick            what do the roads to 1,000 nodes cost, and how does that grow?
      vallum bench engine --quick            what does the compiler cost at 100,000 pods, and how does it grow?
      vallum bench source --quick            how long until the world of an API is known, and what does it hold?
      vallum bench coldstart --quick         an agent starts in a large cluster: how long until it enforces?
      vallum bench restore --quick           another program flushes our rules: how long until they stand again?
      vallum bench repair --quick            somebody breaks a road between nodes: how long until packets arrive?
      vallum bench ipam --quick              what does an address cost, and what does a kill leave behind?
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


@command.command("throughput")
@_quick
@format_option
def throughput(quick: bool, output: str) -> None:
    """How fast pods on two nodes talk over each back end, beside host to host: the study of 2016 rebuilt.

    One TCP stream between pods on two nodes behind a router, over host-gw, ipip and vxlan, without policies and with
    1,000 of them that select both pods, and from node to node in the same rounds. Under links of 3 Gbit/s between the
    nodes (link-bound) and without a limit (CPU-bound), with segmentation offload and without; without: TSO and GSO are
    off on both ends of every veth, so that each packet travels alone. One CPU carries both ends and all between them.
    Before a cell is measured it must refuse the stream without the policy that admits it.

    \b
      points   % of direct that the policies take
      CPU      of the whole machine, for each GB that arrived
      again    segments that were sent again, for each GB
      payload  of a packet on the wire, in bytes

    --quick: streams of an eighth of a second, 16 rounds at first; two minutes. In full: a third of a second, 40 rounds;
    a quarter of an hour. The stream tool is C and needs a compiler: gcc.
    """
    from vallum.lab.bench.throughput import run  # noqa: PLC0415 - --help need not pay for the lab

    sys.exit(run(quick, output, click.echo))


@command.command("routes")
@_quick
@format_option
def routes(quick: bool, output: str) -> None:
    """What the roads to 1,000 to 10,000 nodes cost one node, and how that grows.

    Every other node has one block. Host-gw and vxlan plan, and the kernel gets what they wish: all at once, read again,
    mended, and when one node comes or goes. In the end a look at everything must find nothing to do. Goals at 1,000
    nodes: all in a second, one node in 10 ms, its plan included.

    --quick: 40 changes instead of 200, 3 cold starts instead of 9; a minute.
    """
    from vallum.lab.bench.routes import run  # noqa: PLC0415 - --help need not pay for the lab

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


@command.command("source")
@_quick
@format_option
@click.option("--api", type=click.Path(path_type=Path), metavar="KUBECONFIG", help="Read this cluster, without goals.")
def source(quick: bool, output: str, api: Path | None) -> None:
    """How long an agent takes to know the world of an API, and how much memory that holds.

    A fake API server in another process serves 100,000 pods of 3 to 4 kB, in pages and as a stream; a fresh process
    reads them over HTTP up to the first batch. Goals: in pages in 2 seconds, 60 MiB held, where ten pods share their
    labels.

    --quick: 20,000 pods against a fifth of both, and without unique labels; a quarter of a minute.
    """
    from vallum.lab.bench.source import run  # noqa: PLC0415 - --help need not pay for the lab

    sys.exit(run(quick, api, output, click.echo))


@command.command("ipam")
@_quick
@format_option
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=Path("/var/tmp"),  # noqa: S108 - a folder of its own is made in it; /tmp is in memory on many machines
    show_default=True,
    help="On the disk that is to be measured.",
)
def ipam(quick: bool, output: str, folder: Path) -> None:
    """What an address costs, how that grows, and what a kill leaves behind.

    Ledgers of 1,000, 10,000 and 100,000 addresses in use: allocate and free, decided only and durable (beside a bare
    fsync to the same disk), and opening it; 10,000 nodes placed over 3 zones of 20 racks. Then a process under load is
    killed 1,000 times at random instants, and 8 processes allocate at once: no address may be given twice, nothing that
    was acknowledged be lost, no hand be needed. Goals: medians of 0.2 ms, 2 ms durable, 0.5 s to open, 2 s to place.

    --quick: a tenth of the trials and 60 kills; under a minute.
    """
    from vallum.lab.bench.ipam import run  # noqa: PLC0415 - --help need not pay for the lab

    sys.exit(run(folder, quick, output, click.echo))


@command.command("coldstart")
@_quick
@format_option
def coldstart(quick: bool, output: str) -> None:
    """How long an agent that starts takes until the kernel holds its rules, in a cluster of 10,000 pods.

    A real cluster (as root; `make kube` builds it) with 1,000 policies, a tenth of them for pods of the node. The agent
    is killed and started with its table kept, as in an upgrade, and without, as after a boot; the clock stops when it
    says that it has read its rules back. Goals: a second from the start of the process, 100 MiB at most.

    --quick: 3 starts of each way instead of 20; two minutes.
    """
    from vallum.lab.bench.coldstart import run  # noqa: PLC0415 - --help need not pay for the lab

    sys.exit(run(quick, output, click.echo))


@command.command("podstart")
@_quick
@format_option
def podstart(quick: bool, output: str) -> None:
    """Whether a pod is protected from its first packet, and what that costs it.

    A real cluster (as root; `make kube` builds it). Pods start under fire from pods that they admit and pods that they
    deny, on the same node and on the other, TCP and UDP: 50 by a kubelet, 950 by calling our plugin as a container
    runtime does, in a roomy range and in one so small that addresses come back at once. Goal: no packet leaks, nor by
    permissions of an address's owner before. Then ADD is timed beside the reference plugins bridge and host-local,
    without and with 10,000 policies: a median of 20 ms, and 5 ms longer at most.

    --quick: 60 starts, 1,000 policies; two minutes.
    """
    from vallum.lab.bench.podstart import run  # noqa: PLC0415 - --help need not pay for the lab

    sys.exit(run(quick, output, click.echo))


@command.command("latency")
@_quick
@format_option
@click.option("--pods", type=click.IntRange(1, 60_000), help="Other pods, instead of 1,000 and then 10,000.")
def latency(quick: bool, pods: int | None, output: str) -> None:
    """How long after a change through the API the first packet obeys it.

    A real cluster (as root; `make kube` builds it) with 1,000 policies and a crowd of other pods. A policy, a label of
    a pod or of a namespace opens and shuts a way between two pods on two nodes, while a datagram tries every half
    millisecond. Counted from the API's answer; split into the watch, compile, apply and the kernel, with the API's own
    time beside. Goals at 1,000 other pods: p50 10 ms, p99 20 ms.

    --quick: 20 changes of each kind and direction instead of 170, 1,000 pods only; a minute and a half.
    """
    from vallum.lab.bench.latency import run  # noqa: PLC0415 - --help need not pay for the lab

    sys.exit(run(quick, pods, output, click.echo))


@command.command("repair")
@_quick
@format_option
def repair(quick: bool, output: str) -> None:
    """How long packets fail to arrive after somebody broke a road between nodes.

    Two nodes with real agents over each back end, and a datagram a millisecond from pod to pod. `ip` and `bridge`
    delete a route, the tunnel's device, a neighbour or a forwarding entry. What counts is the longest silence at the
    receiver; `status` must name what was repaired. Goal: a second at most.

    --quick: 5 trials of each, otherwise 30; a quarter of a minute and half of one.
    """
    from vallum.lab.bench.repair import run  # noqa: PLC0415 - --help need not pay for the lab

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
