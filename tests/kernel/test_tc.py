"""Programs at the doors of an interface: told, replaced in place, and taken away with nothing of others."""

import pytest

from inside import run_inside
from twonodes import need_programs
from vallum.kernel import tc
from vallum.kernel.bpf import build
from vallum.kernel.bpf.objects import Object, Program
from vallum.kernel.netlink import RequestError
from vallum.kernel.rtnetlink import Rtnetlink

pytestmark = pytest.mark.packets


@pytest.fixture(autouse=True)
def _able() -> None:
    need_programs()


def another(program: Program) -> Program:
    """The same under a name that is not ours, as another program on the machine would attach it."""
    return Program("another", program.descriptor, program.number)


def has_doors(netlink: Rtnetlink, index: int) -> bool:
    """Reports whether anything can be attached to an interface as it is."""
    told = map(tc._read, netlink.dump("read queueing disciplines", 38, tc._MESSAGE.pack(0, 0, 0, 0, 0)))
    return any(at == index and found[1] == b"clsact\0" for at, _, found in told)


def test_what_is_attached_is_told_with_its_door_and_number_and_stays_when_its_object_is_closed() -> None:
    def piece() -> tuple[tuple[tc.Attached, ...], int, int]:
        with Rtnetlink() as netlink:
            index = netlink.link("lo").index
            with Object(build.compiled("ipip")) as made:
                program = made.program("vallum_unwrap")
                tc.attach(netlink, index, tc.INGRESS, program)
            return tc.attached(netlink), index, program.number

    found, index, number = run_inside(piece)
    assert found == (tc.Attached(index, tc.INGRESS, "vallum_unwrap", number),)


def test_a_second_one_takes_the_place_of_the_first() -> None:
    def piece() -> tuple[list[str], int]:
        with Rtnetlink() as netlink, Object(build.compiled("ipip")) as made:
            index = netlink.link("lo").index
            for name in ("vallum_unwrap", "vallum_carry"):
                tc.attach(netlink, index, tc.INGRESS, made.program(name))
            return [one.name for one in tc.attached(netlink)], len(tc._filters(netlink, index, tc.INGRESS))

    assert run_inside(piece) == (["vallum_carry"], 1)


def test_the_last_one_to_go_closes_the_doors_and_others_keep_them_open() -> None:
    def piece() -> tuple[int, bool, bool]:
        with Rtnetlink() as netlink, Object(build.compiled("ipip")) as made:
            index, program = netlink.link("lo").index, made.program("vallum_unwrap")
            tc.attach(netlink, index, tc.EGRESS, another(program))
            tc.attach(netlink, index, tc.INGRESS, program)
            tc.detach(netlink, tc.attached(netlink)[0])
            others = len(tc._filters(netlink, index, tc.EGRESS))
            there = has_doors(netlink, index)
            tc.detach(netlink, tc.Attached(index, tc.EGRESS, "another", program.number))
            return others, there, has_doors(netlink, index)

    assert run_inside(piece) == (1, True, False)


def test_what_is_not_there_cannot_be_detached() -> None:
    def piece() -> str:
        with (
            Rtnetlink() as netlink,
            pytest.raises(RequestError, match="detach program vallum_x from interface 1") as it,
        ):
            tc.detach(netlink, tc.Attached(1, tc.INGRESS, "vallum_x", 0))
        return str(it.value)

    assert run_inside(piece)
