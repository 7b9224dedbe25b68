"""The real arena, with packets: small, for what holds rather than for how fast."""

import shutil

import pytest

from vallum.kernel import sandbox
from vallum.kernel.compiled import COMPILERS, CURE
from vallum.lab.bench import shapes
from vallum.lab.bench.arena import open_arena
from vallum.lab.bench.build import load_tool
from vallum.lab.bench.inside import in_sandbox
from vallum.lab.bench.policy_cost import Group, Plan, Result, carry_out
from vallum.lab.bench.rounds import Pace

pytestmark = [
    pytest.mark.packets,
    pytest.mark.skipif(not any(map(shutil.which, COMPILERS)), reason=f"the load tool needs a C compiler: {CURE}"),
]
GROUPS = (
    *(Group("one-node", shape) for shape in shapes.SHAPES),
    Group("two-nodes", "both"),
    Group("two-nodes", "blocks", 6),
)
PLAN = Plan(GROUPS, (0, 10), (512, 10_240), Pace(6, 6, 5))


@pytest.fixture(scope="module")
def found():
    refusal = sandbox.probe()
    if refusal:
        pytest.skip(refusal)
    tool = load_tool()

    def work() -> Result:
        with open_arena(tool) as arena:
            return carry_out(PLAN, arena, lambda _: None)

    return in_sandbox(work, Result, tool.parent)


def test_in_every_shape_path_and_family_the_last_policy_decides_and_no_request_fails(found: Result):
    assert len(found.rows) == len(GROUPS) * 2 * 4
    assert all(row.failures == 0 and row.requests == 30 for row in found.rows)


def test_elements_are_read_back_where_a_plane_holds_something(found: Result):
    assert all((row.elements > 0) == (row.plane == "nftables") for row in found.rows)
    more = {(row.path, row.shape, row.family): row.elements for row in found.rows if row.policies == 10}
    none = {
        (row.path, row.shape, row.family): row.elements
        for row in found.rows
        if (row.plane, row.policies) == ("nftables", 0)
    }
    assert all(more[group] > none[group] for group in none)


def test_every_row_is_compared_with_the_bare_path_of_its_own_cell(found: Result):
    bare = [row for row in found.rows if (row.plane, row.policies) == ("none", 0)]
    assert {(row.path, row.shape, row.family) for row in bare} == {
        (row.path, row.shape, row.family) for row in found.rows
    }
    assert all(row.ratio == 1 for row in bare)
    assert all(0 < row.ratio_low <= row.ratio <= row.ratio_high for row in found.rows)
