"""The number of a revision survives the way into the kernel's words and back, for every mask."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inside import run_inside
from labs import nft_here
from vallum.dataplane.nftables.frame import CURRENT
from vallum.dataplane.nftables.listing import parse
from vallum.dataplane.nftables.marks import MASK, Marks
from vallum.kernel.nft import Nft
from vallum.model.errors import InputError

MATCH, SET = f"{CURRENT} accept", f"ct state established,new ct mark set {CURRENT.removeprefix('ct mark ')}"
MASKS = [MASK, 0x3, 0xFF, 0xFF00, 0x0FF0, 0xC0000000, 0xFFFFFFFF, 0x7FFFFFFF, 0xFFFFFFFE, 0x00018000]


@pytest.mark.parametrize("mask", [0, 1, 0x80000000, 0x5, 0xF0F0, -1, 1 << 32, 0x1_0000_FFFF], ids=hex)
def test_a_mask_with_holes_or_without_room_is_refused_by_name(mask: int):
    with pytest.raises(InputError, match="--mark-mask"):
        Marks(mask)


@given(st.integers(0, 30), st.integers(2, 32), st.integers(1, 1 << 32))
def test_numbers_fill_the_mask_exactly(shift: int, width: int, number: int):
    width = min(width, 32 - shift)
    marks = Marks(((1 << width) - 1) << shift)
    assert marks.most << marks.shift == marks.mask
    number = 1 + number % marks.most
    assert (number << marks.shift) & ~marks.mask == 0


def test_a_foreign_use_of_the_mark_stays_as_it_is():
    marks = Marks(0xFF00)
    for rule in ("ct mark 0x00000001 accept", "ct mark & 0x000000ff == 0x00000001 accept", "ct mark set 0x00000010"):
        assert marks.read(rule) == (rule, None)


@pytest.mark.packets
def test_what_the_kernel_lists_reads_back_as_what_was_written():
    numbers = {mask: sorted({1, Marks(mask).first, Marks(mask).most - 1, Marks(mask).most}) for mask in MASKS}

    def piece() -> list[tuple[str, str]]:
        nft, wrong = Nft(), []
        for mask, wanted in numbers.items():
            marks = Marks(mask)
            for number in wanted:
                rules = [marks.write(rule, number) for rule in (MATCH, SET)]
                nft.run("add table inet t\nadd chain inet t c\n" + "".join(f"add rule inet t c {r}\n" for r in rules))
                for listing in (nft.run("list table inet t"), nft_here("list", "table", "inet", "t")):
                    read = [marks.read(rule) for rule in parse(listing).chains["c"].rules]
                    if read != [(MATCH, number), (SET, number)]:
                        wrong.append((f"{mask:#x} {number}", str(read)))
                nft.run("delete table inet t")
        return wrong

    assert run_inside(piece) == []
