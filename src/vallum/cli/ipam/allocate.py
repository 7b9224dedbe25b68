"""`vallum ipam allocate`: give an owner on a host an address of each family, as the agent of that host would."""

import click

from vallum.cli.ipam.change import show_change
from vallum.cli.ipam.show import where_is
from vallum.cli.ipam.store import Where, decided, dry_run_option, opened, store_options
from vallum.cli.ipam.words import address, marks
from vallum.cli.output import format_option
from vallum.ipam import Request, blocks
from vallum.model.address import pack
from vallum.model.objects import PodId


@click.command("allocate")
@click.argument("host")
@click.argument("owner")
@click.option("--tenant", default="default", show_default=True, metavar="NAMESPACE", help="For whom.")
@click.option("--address", "wanted", multiple=True, metavar="ADDRESS", help="This very one; one of each family.")
@click.option(
    "--namespace-label", "labels", multiple=True, metavar="KEY=VALUE", help="A label of the namespace; repeatable."
)
@dry_run_option
@store_options
@format_option
def command(
    host: str,
    owner: str,
    tenant: str,
    wanted: tuple[str, ...],
    labels: tuple[str, ...],
    dry: bool,
    where: Where,
    output: str,
) -> None:
    """Give OWNER on HOST an address of each family that the host has networks of.

    The owner is a name of your choice, which `free` takes again. An agent frees what no pod of its node uses when it
    starts, so this is for hosts that have none, and with --dry-run for the question what comes next.
    """
    asked = tuple(address(text, "--address") for text in wanted)
    request = Request(owner, PodId(tenant, owner), asked, marks(labels, "--namespace-label"))
    with opened(where) as store:
        store.by_hand(host, "start a pod there, which gets one")
        done = decided(store, lambda state: blocks.allocate(state, host, request, store.now()), dry=dry)
        state, now = store.state(), store.now()
    found = [where_is(state, pack(each), now) for each in done.result.addresses]
    answer = {"host": host, "owner": owner, "addresses": [str(each) for each in done.result.addresses]}
    lines = [f"{each['address']} for {owner} on {host}: {each['network']}, {each['group']}" for each in found]
    show_change(done.change, output, dry=dry, answer=answer, lines=lines)
