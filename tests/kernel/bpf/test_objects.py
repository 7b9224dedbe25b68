"""Objects are loaded, maps are filled and read by the thousand, and the programs of ipip judge single packets."""

import struct
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TypeVar

import pytest

from inside import run_inside
from twonodes import need_programs
from vallum.kernel import ipip_maps
from vallum.kernel.bpf import build
from vallum.kernel.bpf.library import library
from vallum.kernel.bpf.objects import LoadError, Object, run
from vallum.kernel.libc import RefusedError
from vallum.model.errors import KernelError
from vallum.model.wiring import Carried, Origin

Result = TypeVar("Result")

pytestmark = pytest.mark.packets

REDIRECT, DROP, GO_ON = 7, 2, -1
HERE, THERE, OTHER = (ip_address(text) for text in ("172.20.1.1", "172.20.2.1", "172.20.3.1"))
OURS, THEIRS = ip_network("10.44.1.0/24"), ip_network("10.44.2.0/24")
ETHERNET = bytes.fromhex("020000000001 020000000002 0800")
MAC = "02:56:00:00:00:01"
CONGESTED, ABLE, TOS = 3, 2, 0xB8


@pytest.fixture(autouse=True)
def _able() -> None:
    need_programs()


def loaded(piece: Callable[[Object], Result]) -> Result:
    """`piece` with the object of ipip, filled for one peer."""

    def body() -> Result:
        with Object(build.compiled("ipip")) as made:
            made.map("vallum_own").update(ipip_maps.OWN_KEY, ipip_maps.own(HERE, 1, MAC))
            made.map("vallum_ways").update_all(ipip_maps.ways([Carried("", THEIRS, THERE)], {THERE: 1}))
            made.map("vallum_origins").update_all(ipip_maps.origins([Origin("", THERE, THEIRS)]))
            return piece(made)

    return run_inside(body)


def packet(source: str, destination: str, protocol: int, body: bytes, *, tos: int = 0, cut: int = 0) -> bytes:
    head = struct.pack("!BBHHHBBH", 0x45, tos, 20 + len(body), 0, cut, 64, protocol, 0)
    return head + ip_address(source).packed + ip_address(destination).packed + body


def judged(made: Object, name: str, frame: bytes) -> tuple[int, bytes, list[str]]:
    """What the program returns, what becomes of the frame, and the reasons that were counted."""
    before = drops(made)
    verdict, after = run(made.program(name), frame)
    return verdict, after, [why for why, count in drops(made).items() if count != before[why]]


def drops(made: Object) -> dict[str, int]:
    found = made.map("vallum_drops").items()
    return {why: ipip_maps.summed(found[struct.pack("=I", at)]) for at, why in enumerate(ipip_maps.REASONS)}


INNER = packet("10.44.2.7", "10.44.1.7", 17, bytes(8), tos=ABLE)
UNWRAPPED = [
    ("right", packet(str(THERE), str(HERE), 4, INNER), REDIRECT, []),
    ("for another node", packet(str(THERE), str(OTHER), 4, INNER), GO_ON, []),
    ("no tunnel packet", packet(str(THERE), str(HERE), 17, bytes(8)), GO_ON, []),
    ("of a stranger", packet(str(OTHER), str(HERE), 4, INNER), DROP, ["unknown-outer"]),
    (
        "of somebody else's pod",
        packet(str(THERE), str(HERE), 4, packet("10.44.3.7", "10.44.1.7", 17, b"")),
        DROP,
        ["wrong-inner"],
    ),
    ("cut on its way", packet(str(THERE), str(HERE), 4, INNER, cut=0x2000), DROP, ["fragment"]),
    ("the rest of a cut one", packet(str(THERE), str(HERE), 4, INNER, cut=7), DROP, ["fragment"]),
    ("empty", packet(str(THERE), str(HERE), 4, b""), DROP, ["malformed"]),
    ("IPv6 inside", packet(str(THERE), str(HERE), 4, b"\x60" + bytes(39)), DROP, ["malformed"]),
]


@pytest.mark.parametrize(
    ("frame", "verdict", "why"), [each[1:] for each in UNWRAPPED], ids=[each[0] for each in UNWRAPPED]
)
def test_what_arrives_is_unwrapped_or_left_alone_or_dropped_with_a_reason(
    frame: bytes, verdict: int, why: list[str]
) -> None:
    assert loaded(lambda made: judged(made, "vallum_unwrap", ETHERNET + frame)[::2]) == (verdict, why)


def test_what_is_unwrapped_is_the_inner_packet_for_the_device_s_mac() -> None:
    frame = ETHERNET + packet(str(THERE), str(HERE), 4, INNER)
    _, after, _ = loaded(lambda made: judged(made, "vallum_unwrap", frame))
    assert after == bytes.fromhex(MAC.replace(":", "")) + ETHERNET[6:] + INNER


def test_congestion_that_the_outer_packet_met_is_told_to_the_inner_one() -> None:
    frame = ETHERNET + packet(str(THERE), str(HERE), 4, INNER, tos=CONGESTED)
    _, after, _ = loaded(lambda made: judged(made, "vallum_unwrap", frame))
    assert after[15] & CONGESTED == CONGESTED


def test_congestion_is_a_loss_where_the_sender_would_not_understand_it() -> None:
    deaf = packet("10.44.2.7", "10.44.1.7", 17, bytes(8))
    frame = ETHERNET + packet(str(THERE), str(HERE), 4, deaf, tos=CONGESTED)
    assert loaded(lambda made: judged(made, "vallum_unwrap", frame)[0]) == DROP


@pytest.mark.parametrize("cut", [0, 0x4000])
def test_what_leaves_gets_a_header_with_its_tos_and_df_and_a_right_checksum(cut: int) -> None:
    inner = packet("10.44.1.7", "10.44.2.7", 17, bytes(8), tos=TOS, cut=cut)
    verdict, after, why = loaded(lambda made: judged(made, "vallum_carry", ETHERNET + inner))
    outer = after[14:34]
    assert (verdict, why, after[34:]) == (REDIRECT, [], inner)
    version, tos, length, _, flags, ttl, protocol, _ = struct.unpack_from("!BBHHHBBH", outer)
    assert (version, tos, length, flags, ttl, protocol) == (0x45, TOS, 20 + len(inner), cut, 64, 4)
    assert outer[12:] == HERE.packed + THERE.packed
    total = sum(struct.unpack("!10H", outer))
    assert (total & 0xFFFF) + (total >> 16) == 0xFFFF


def test_what_has_no_way_is_dropped_and_counted() -> None:
    frame = ETHERNET + packet("10.44.1.7", "10.44.9.7", 17, bytes(8))
    assert loaded(lambda made: judged(made, "vallum_carry", frame)[::2]) == (DROP, ["no-way"])


def test_thousands_of_entries_are_written_read_and_deleted_at_once() -> None:
    def piece(made: Object) -> tuple[bool, int, bytes | None, bytes | None]:
        ways = made.map("vallum_ways")
        entries = {
            struct.pack("=I4s", 24, bytes([11, high, low, 0])): bytes(8) for high in range(40) for low in range(250)
        }
        ways.delete_all(ways.items())
        ways.update_all(entries)
        whole = ways.items() == entries
        gone = list(entries)[: len(entries) - 3]
        ways.delete_all([*gone[:5], *gone])  # some are not there any more
        kept = next(iter(entries.keys() - set(gone)))
        return whole, len(ways.items()), ways.lookup(gone[0]), ways.lookup(kept)

    assert loaded(piece) == (True, 3, None, bytes(8))


def test_a_key_of_another_size_never_reaches_the_kernel() -> None:
    def piece(made: Object) -> tuple[str, int]:
        with pytest.raises(ValueError, match="keys of 8 bytes") as caught:
            made.map("vallum_ways").update(b"short", bytes(8))
        with pytest.raises(RefusedError) as refused:
            made.map("vallum_own").delete(ipip_maps.OWN_KEY)
        return str(caught.value), refused.value.errno

    assert loaded(piece) == ("map vallum_ways has keys of 8 bytes and values of 8", 22)


def test_what_the_object_does_not_have_is_refused_by_name() -> None:
    def piece(made: Object) -> str:
        with pytest.raises(KernelError, match="find map nothing in"):
            made.map("nothing")
        with pytest.raises(KernelError, match="find program nothing in") as caught:
            made.program("nothing")
        return str(caught.value)

    assert "No such file or directory" in loaded(piece)


def test_what_the_verifier_refuses_is_told_in_its_words(tmp_path: Path) -> None:
    source, target = tmp_path / "wild.bpf.c", tmp_path / "wild.bpf.o"
    source.write_text(
        '__attribute__((section("tc"), used)) int wild(long *skb) { return *(int *)(long)skb[5]; }\n'
        'char _license[] __attribute__((section("license"), used)) = "Apache-2.0";\n'
    )
    build.compile_to(source, target)

    def piece() -> str:
        with pytest.raises(LoadError) as caught:
            Object(target)
        return str(caught.value)

    assert run_inside(piece).startswith("load wild.bpf.o: Permission denied (")


def test_layouts_are_those_of_the_c_source() -> None:
    def piece(made: Object) -> list[tuple[int, int]]:
        names = ("vallum_own", "vallum_ways", "vallum_origins", "vallum_drops")
        return [(one.key_size, one.value_size) for one in map(made.map, names)]

    (own, way, origin, drop) = loaded(piece)
    assert own == (len(ipip_maps.OWN_KEY), len(ipip_maps.own(HERE, 1, MAC)))
    ((key, value),) = ipip_maps.ways([Carried("", THEIRS, THERE)], {THERE: 1}).items()
    assert way == (len(key), len(value))
    assert all(
        origin == (len(key), len(value)) for key, value in ipip_maps.origins([Origin("", THERE, THEIRS)]).items()
    )
    assert drop == (4, 8)
    assert library().libbpf_num_possible_cpus() > 0
