"""The real arena of `bench throughput`, with packets: short, for what holds rather than for how fast."""

import shutil
from dataclasses import replace

import pytest

from vallum.kernel import netns, sandbox
from vallum.kernel.compiled import COMPILERS, CURE
from vallum.kernel.offload import Offload, is_on
from vallum.lab.bench import links
from vallum.lab.bench.build import stream_tool
from vallum.lab.bench.inside import in_sandbox
from vallum.lab.bench.throughput import Plan, Result, carry_out
from vallum.lab.bench.throughput_plan import CELLS, CONDITIONS, LINK, Cell, Condition
from vallum.lab.bench.throughput_seat import open_arena

pytestmark = [
    pytest.mark.packets,
    pytest.mark.skipif(not any(map(shutil.which, COMPILERS)), reason=f"the stream tool needs a C compiler: {CURE}"),
]
PAYLOAD = {"direct": 1448, "hostgw": 1448, "ipip": 1428, "vxlan": 1398}
"""1,500 less the headers of TCP with time stamps and IP (52), less those of the tunnel (20, 50)."""


def test_each_road_carries_its_own_packets_and_every_seat_proves_its_policies():
    if refusal := sandbox.probe():
        pytest.skip(refusal)
    tool = stream_tool()
    cells = tuple(replace(each, policies=min(each.policies, 5)) for each in CELLS)
    plan = Plan(1, 1, warm=0.02, length=0.05, conditions=CONDITIONS[:2], cells=cells)

    def work() -> Result:
        with open_arena(tool) as arena:
            return carry_out(plan, arena, lambda _: None)

    found = in_sandbox(work, Result, tool.parent)
    assert {(row.road, row.segment) for row in found.rows} == set(PAYLOAD.items())
    assert len(found.rows) == 2 * len(cells)


def test_a_condition_reaches_both_ends_of_every_link_and_is_taken_back():
    if refusal := sandbox.probe():
        pytest.skip(refusal)
    tool = stream_tool()

    def state() -> list[bool]:
        ends = [("router", "node-1"), ("router", "node-2"), ("node-1", links.UPLINK), ("node-1", "v-client")]
        found = []
        for place, device in [*ends, ("client", "eth0"), ("server", "eth0")]:
            with netns.entered(links.place("direct-0", place)):
                found += [is_on(device, feature) for feature in (Offload.TSO, Offload.GSO)]
        return found

    def work() -> list[list[bool]]:
        with open_arena(tool) as arena:
            arena.seat(Cell("direct"))
            seen = []
            for condition in (Condition(LINK, offload=False), Condition(None, offload=True)):
                arena.set(condition)
                seen.append(state())
            return seen

    off, on = in_sandbox(work, list[list[bool]], tool.parent)
    assert (set(off), set(on)) == ({False}, {True})
