"""`vallum ipam`: which addresses there are, who has them, and how they follow the tree of zones, racks and hosts.

The group alone; each command is a file of its own, loaded when it is called.
"""

import click

from vallum.cli import Lazy

_COMMANDS = {
    "show": "Networks and groups with their use; or where one address stands and who has it.",
    "blocks": "Every block: its group, host and addresses.",
    "hosts": "Where each host is placed; add, label and remove hosts.",
    "topology": "The tree of groups; plan, set and export it.",
    "allocate": "Give an address of each family to an owner on a host.",
    "free": "Take an address, or all that an owner has, back.",
    "blackout": "Ranges of which nothing is handed out; add, remove and list them.",
    "verify": "The ledger against itself, and against the pods there are.",
    "import": "Put a whole export back; what is in use now stays in use.",
    "export": "The whole ledger as documents: a backup.",
}


@click.group("ipam", cls=Lazy, table=_COMMANDS, modules="vallum.cli.ipam.")
def command() -> None:
    """Addresses that tell where a pod is: networks split along zones, racks and hosts (docs/ipam.md).

    \b
      vallum ipam topology plan examples/topologies/zones.yaml    what would it do? changes nothing
      vallum ipam topology set examples/topologies/zones.yaml
      vallum ipam hosts add node1 --label zone=z1 --label rack=r2
      vallum ipam show                                            a tree with its use
      vallum ipam show 10.65.0.7                                  where is that, and who has it?

    The agent of a node keeps a ledger, and so these commands need no agent, only the rights to its file. With
    --kubeconfig or --cluster they speak of the objects of the Kubernetes API, as agents with --ipam cluster do. What
    changes something takes --dry-run: the same decision, and nothing is kept.
    """
