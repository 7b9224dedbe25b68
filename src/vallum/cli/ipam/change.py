"""How a change of the ledger is told: what was, or by a dry run would be, made, changed and removed."""

from collections.abc import Mapping
from typing import Any

from vallum.cli.output import show_data
from vallum.ipam.own import document
from vallum.ipam.records import Blackout, Block, Change, Host, Network, Record, Stray, Topology, key_of

_MOST = 20
"""Lines of a table; the other forms of output have everything."""


def show_change(change: Change, output: str, *, dry: bool, answer: Mapping[str, Any], lines: list[str]) -> None:
    """Print what a command did: `lines` (or as data, `answer`) and the records that it changed."""
    if output != "table":
        records = {
            "changed": [document(each) for each in change.puts],
            "removed": [str(key_of(o)) for o in change.gone],
        }
        show_data({**answer, "dryRun": dry, **records}, output)
        return
    for line in lines:
        print(line)
    would = "would be " if dry else ""
    told = [f"{would}{'changed' if each.revision else 'made'}: {_line(each)}" for each in change.puts]
    told += [f"{would}removed: {_line(each)}" for each in change.gone]
    for line in told[:_MOST]:
        print(line)
    if len(told) > _MOST:
        print(f"and {len(told) - _MOST} more; -o json has them")
    if not told:
        print("nothing to change")
    if dry:
        print("dry run: nothing was changed")


def _line(record: Record) -> str:
    match record:
        case Network():
            return f"Network {record.name} {record.cidr}, blocks of /{record.block_mask}"
        case Topology():
            return f"Topology {record.name} of {', '.join(record.networks)}"
        case Host():
            where = ", ".join(f"{each.network} {'/'.join(map(str, each.path))}" for each in record.places)
            labels = ",".join(f"{key}={value}" for key, value in record.labels)
            return f"Host {record.name} [{labels}] at {where or 'no place'}"
        case Block():
            whose = f"host {record.host}" if record.host else "nobody"
            return f"Block {record.cidr} of {whose}, {len(record.used)} in use"
        case Blackout():
            return f"Blackout {record.cidr}"
        case Stray():
            return f"Stray {record.address} on host {record.host}"
