"""The source check of pods on another plugin's bridge: the inet table sees the bridge, not the port (stance 23).

A small stateless table of the bridge family, written whole whenever it changes, and absent where no pod is bridged. A
port sends from its own pod's addresses only, and nobody else on the bridge sends from them. What a pod may say is
judged by the inet table, which sees bridged packets where br_netfilter hands them over (`kernel.bridges`).
"""

from vallum.dataplane import Denials
from vallum.dataplane.nftables.frame import LOG_GROUP, LOG_RATE, SPOOFED
from vallum.dataplane.nftables.listing import parse
from vallum.dataplane.nftables.program import Chain, NftSet, Program
from vallum.dataplane.nftables.reports import TableEvents
from vallum.kernel.nft import Nft
from vallum.kernel.nftwatch import BRIDGE
from vallum.model.address import family, show
from vallum.model.attachment import LocalNode
from vallum.policy.classify import Tables
from vallum.policy.ruleset import Feature, Ruleset

TABLE = "vallum-bridged"
_HOOK = "type filter hook prerouting priority -300; policy accept;"
_PROTOCOL = {4: "ip", 6: "ip6"}
_FREE = {4: "ip saddr 0.0.0.0 return", 6: "ip6 saddr { ::, fe80::/10 } return"}
"""What looks for an address or a neighbour has none of its own yet; it never leaves the bridge."""


class BridgedSources:
    """See `dataplane.DataPlane`. It judges no policy, so it supports whatever the plane above it does."""

    name = "bridged"
    supports = frozenset(Feature)

    def __init__(self, mark_mask: int = 0) -> None:  # noqa: ARG002 - it keeps no marks
        self._nft = Nft()

    def render(self, ruleset: Ruleset, tables: Tables, node: LocalNode) -> Program | None:  # noqa: ARG002
        """None where no pod sits on a port of a bridge."""
        seated = [attachment for attachment in node.attachments if attachment.port]
        if not seated:
            return None
        sets = {"ports": NftSet("ifname", {f'"{each.port}"': "" for each in seated})}
        rules = []
        for version, protocol in _PROTOCOL.items():
            pairs = [(each.port, show(one)) for each in seated for one in each.addresses if family(one) == version]
            kind = f"ipv{version}_addr"
            sets[f"sources{version}"] = NftSet(f"ifname . {kind}", {f'"{port}" . {one}': "" for port, one in pairs})
            sets[f"owned{version}"] = NftSet(kind, {one: "" for _, one in pairs})
            strange = f"iifname . {protocol} saddr != @sources{version} goto spoofed"
            rules.append(_FREE[version])
            rules += [f"iifname @ports {strange}", f"{protocol} saddr @owned{version} {strange}"]
        log = f'log prefix "{SPOOFED}" group {LOG_GROUP} snaplen 128'
        drop = (f"limit rate {LOG_RATE}/second burst 1000 packets {log}", "counter drop")
        return Program(sets, {"prerouting": Chain(tuple(rules), _HOOK), "spoofed": Chain(drop)})

    def apply(self, program: Program | None) -> None:
        """One transaction, whole: it is a few elements a pod of this node. Raises KernelError."""
        if program is None:
            self.clear()
        else:
            self._nft.run(f"add table bridge {TABLE}\ndelete table bridge {TABLE}\n{_script(program)}")

    def read(self) -> Program | None:
        """What the kernel holds. Raises KernelError."""
        if not self._stands():
            return None
        return parse(self._nft.run(f"list table bridge {TABLE}"))

    def confirm(self, program: Program | None) -> bool:
        """It is read as a whole."""
        return self.read() == program

    def drifted(self) -> bool:
        """It asks nothing of links."""
        return False

    def tidy(self) -> None:
        """It is written whole: nothing is left."""

    def clear(self) -> None:
        """Remove the table. Nothing to remove is fine."""
        if self._stands():
            self._nft.run(f"delete table bridge {TABLE}")

    def _stands(self) -> bool:
        """Most nodes have no bridge of pods: the list of tables alone is quick."""
        return f"table bridge {TABLE}\n" in self._nft.run("list tables bridge")

    def events(self) -> TableEvents:
        """Changes of the table by others."""
        return TableEvents(self._nft.portids, TABLE, BRIDGE)

    def denials(self) -> Denials | None:
        """They come with those of the inet table, in the same group."""
        return None


def _script(program: Program) -> str:
    lines = [f"table bridge {TABLE} {{"]
    for name, found in program.sets.items():
        elements = f" elements = {{ {', '.join(found.elements)} }}" if found.elements else ""
        lines.append(f"set {name} {{ {found.declaration()}{elements} }}")
    for name in ("spoofed", "prerouting"):  # a chain is declared before a rule leads to it
        chain = program.chains[name]
        lines.append(f"chain {name} {{\n" + "\n".join([chain.base] * bool(chain.base) + [*chain.rules]) + "\n}")
    return "\n".join([*lines, "}"])
