"""The tunnel device of ipip by programs, in one namespace: a pair of links, programs at their doors, and their maps.

The device is one end of the pair: what is sent into it gets an outer header and leaves by the uplink, and what arrives
there in one comes out of it. A tunnel remembers what stood, so that what is missing is called drift, and can be told
that nothing moved, so that the kernel is not read. What it ignores: several ways to
one peer at once.
"""

import struct
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from vallum.kernel import ground, ipip_maps, tc
from vallum.kernel.bpf import build
from vallum.kernel.bpf.maps import Map
from vallum.kernel.bpf.objects import Object
from vallum.kernel.ipip_maps import Say
from vallum.kernel.rtmessages import SETLINK, Link
from vallum.kernel.rtnetlink import Rtnetlink
from vallum.kernel.tc import EGRESS, INGRESS
from vallum.kernel.tunnels import LOOSE
from vallum.model.address import Address
from vallum.model.wiring import Carried, Ipip, Origin, Problem, Wiring

END = ".end"
"""The other end of the pair has the device's name and this behind it."""
CARRY, UNWRAP = "vallum_carry", "vallum_unwrap"
PROGRAMS = {EGRESS: CARRY, INGRESS: UNWRAP}
"""By door; the first on the device, the second on each uplink."""

_MAC, _END_MAC = "02:56:00:00:00:01", "02:56:00:00:00:02"
"""Nobody else ever sees them."""
_FLAGS, _NOARP = struct.Struct("=BxHiII"), 0x80
Door = tuple[int, int]
"""Interface, and tc.INGRESS or tc.EGRESS."""


@dataclass(slots=True)
class Notes:
    """What was changed, and of that what somebody else had changed before (`drift`), in words."""

    changed: list[str] = field(default_factory=list)
    drift: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def note(self, what: str, drift: str | None) -> None:
        """`drift`: how it was found, if it stood there before."""
        self.changed.append(what)
        if drift is not None:
            self.drift.append(f"{what} {drift}")


class Tunnel:
    """Raises KernelError everywhere: no clang, no rights, a refusal."""

    def __init__(self) -> None:
        self._object = Object(build.compiled("ipip"))
        self._programs = {door: self._object.program(name) for door, name in PROGRAMS.items()}
        self._own = self._object.map("vallum_own")
        self._way_table = _Table(self._object.map("vallum_ways"), ipip_maps.say_way)
        self._origin_table = _Table(self._object.map("vallum_origins"), ipip_maps.say_origin)
        self._drops = self._object.map("vallum_drops")
        self._links: dict[str, Link] = {}
        self._uplinks: dict[Address, int] = {}
        self._doors: dict[Door, int] = {}
        self._made: Ipip | None = None
        self._carried: frozenset[Carried] = frozenset()
        self._origins: frozenset[Origin] = frozenset()

    def close(self) -> None:
        """Let go; what is attached stays."""
        self._object.close()

    def drops(self) -> dict[str, int]:
        """Packets dropped, by reason."""
        found = self._drops.items()
        return {why: ipip_maps.summed(found[struct.pack("=I", at)]) for at, why in enumerate(ipip_maps.REASONS)}

    def stand(self, netlink: Rtnetlink, device: Ipip, wiring: Wiring, notes: Notes, *, read: bool) -> None:
        """Make it so. Without `read`, and for the same device, only what the wish changed is looked at."""
        if read or device != self._made:
            self._whole(netlink, device, wiring, notes)
        else:
            self._difference(netlink, device, wiring, notes)
        self._made, self._carried, self._origins = device, wiring.carried, wiring.origins

    def _whole(self, netlink: Rtnetlink, device: Ipip, wiring: Wiring, notes: Notes) -> None:
        """First the device, then what is looked up, then the programs that look."""
        carried = [one for one in wiring.carried if one.device == device.name]
        self._links = {link.name: link for link in netlink.links()}
        self._pair(netlink, device, notes)
        self._uplinks = {}
        self._find({one.remote for one in carried}, device, notes)
        mine = self._links[device.name]
        self._own.update(ipip_maps.OWN_KEY, ipip_maps.own(device.local, mine.index, mine.mac))
        self._way_table.renew(ipip_maps.ways(carried, self._uplinks), notes)
        allowed = ipip_maps.origins(one for one in wiring.origins if one.device == device.name)
        self._origin_table.renew(allowed, notes)
        told = [one for one in tc.attached(netlink) if one.name in PROGRAMS.values()]
        held = {(one.index, one.door): one.number for one in told}
        wanted = {(mine.index, EGRESS), *((index, INGRESS) for index in self._uplinks.values())}
        self._attach(netlink, wanted, held, notes)
        for index, side in sorted(held.keys() - wanted):
            tc.detach(netlink, tc.Attached(index, side, PROGRAMS[side], 0))
            notes.note(f"program {PROGRAMS[side]} on {self._name(index)}", None)
        self._doors = {door: self._programs[door[1]].number for door in wanted}

    def _difference(self, netlink: Rtnetlink, device: Ipip, wiring: Wiring, notes: Notes) -> None:
        """A range has one way; but ranges of one peer share that it is known, which must not go with one of them."""
        new, old = wiring.carried - self._carried, self._carried - wiring.carried
        self._find({one.remote for one in new if one.device == device.name} - self._uplinks.keys(), device, notes)
        wanted, before = (
            ipip_maps.ways((one for one in some if one.device == device.name), self._uplinks) for some in (new, old)
        )
        self._way_table.change(wanted, before.keys(), notes)
        came, gone = wiring.origins - self._origins, self._origins - wiring.origins
        outer = {int(one.outer) for one in gone}  # of thousands an address is hashed slower than a number
        allowed = [*came, *(one for one in wiring.origins if int(one.outer) in outer)] if gone else came
        may, might = (ipip_maps.origins(one for one in some if one.device == device.name) for some in (allowed, gone))
        self._origin_table.change(may, might.keys(), notes)
        doors = {(index, INGRESS) for index in self._uplinks.values()}
        self._attach(netlink, doors, self._doors, notes)
        self._doors |= {door: self._programs[door[1]].number for door in doors}

    def _pair(self, netlink: Rtnetlink, device: Ipip, notes: Notes) -> None:
        """The two links, up, without neighbour discovery, of the planned MTU."""
        name, end = device.name, device.name + END
        mine, other = self._links.get(name), self._links.get(end)
        stood = self._made is not None and self._made.name == name
        if mine is None or other is None:
            for half in (mine, other):
                if half is not None:
                    netlink.delete_link(half.name)
            netlink.add_veth(name, end, mac=_MAC, peer_mac=_END_MAC, mtu=device.mtu)
            notes.note(f"device {name}", "was gone" if stood else None)
        elif mine.mtu != device.mtu or not mine.up or not other.up:
            unchanged = stood and self._made is not None and self._made.mtu == device.mtu
            found = f"had become mtu {mine.mtu}" if mine.up and other.up else "had gone down"
            notes.note(f"device {name}", found if unchanged else None)
        elif stood:
            return
        for each in (name, end):
            netlink.set_link(each, up=True, mtu=device.mtu)
        self._links = {link.name: link for link in netlink.links()}
        index = self._links[name].index
        netlink.request(f"set link {name}", SETLINK, _FLAGS.pack(0, 0, index, _NOARP, _NOARP))
        netlink.set_rp_filter(name, LOOSE)

    def _find(self, remotes: AbstractSet[Address], device: Ipip, notes: Notes) -> None:
        """The interface that leads to each peer. Programs see Ethernet headers, so that only such can be one."""
        if not remotes:
            return
        subject, hops, bare = f"device {device.name}", ground.look(remotes).hops, set()
        for remote in sorted(remotes, key=int):
            hop = hops.get(remote)
            if hop is None:
                notes.problems.append(Problem(subject, f"no route leads to {remote}"))
            elif (link := self._links.get(hop.device)) is not None and link.mac:
                self._uplinks[remote] = link.index
            else:
                bare.add(hop.device)
        for name in sorted(bare):
            text = f"peers are reached by {name}, which is no Ethernet interface; programs carry ipip on those only"
            notes.problems.append(Problem(subject, f"{text}: use vxlan"))

    def _attach(self, netlink: Rtnetlink, wanted: AbstractSet[Door], held: Mapping[Door, int], notes: Notes) -> None:
        for door in sorted(wanted):
            program = self._programs[door[1]]
            if held.get(door) != program.number:
                tc.attach(netlink, *door, program)
                found = "was gone" if door not in held else "had become another"
                notes.note(f"program {program.name} on {self._name(door[0])}", found if door in self._doors else None)

    def _name(self, index: int) -> str:
        return next((link.name for link in self._links.values() if link.index == index), str(index))


class _Table:
    """A map and what was written to it last."""

    def __init__(self, table: Map, say: Say) -> None:
        self._map, self._say = table, say
        self._written: dict[bytes, bytes] = {}

    def renew(self, wanted: dict[bytes, bytes], notes: Notes) -> None:
        """Make the map hold this and nothing else, whatever it holds."""
        held = self._map.items()
        new = {key: value for key, value in wanted.items() if held.get(key) != value}
        old = {key: value for key, value in held.items() if key not in wanted}
        self._write(new, old)
        for key, value in new.items():
            found = "was gone" if key not in held else f"had become {self._say(key, held[key])}"
            notes.note(self._say(key, value), found if self._written.get(key) == value else None)
        for key, value in old.items():
            notes.note(self._say(key, value), None if key in self._written else "had come from elsewhere")
        self._written = wanted

    def change(self, wanted: dict[bytes, bytes], before: AbstractSet[bytes], notes: Notes) -> None:
        """Of the keys in both the map shall hold what is wanted; nothing else of it changes."""
        new = {key: value for key, value in wanted.items() if self._written.get(key) != value}
        old = {key: self._written[key] for key in before - wanted.keys() if key in self._written}
        self._write(new, old)
        for key, value in (*new.items(), *old.items()):
            notes.note(self._say(key, value), None)
        self._written.update(new)
        for key in old:
            del self._written[key]

    def _write(self, new: dict[bytes, bytes], old: dict[bytes, bytes]) -> None:
        """First what is new: nothing loses its way meanwhile."""
        self._map.update_all(new)
        self._map.delete_all(old)
