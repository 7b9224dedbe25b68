"""The text of the result."""

import pytest

from vallum.lab.bench.report import Goal
from vallum.lab.bench.results import Row, size_name
from vallum.lab.bench.tables import cost, text


def row(plane: str, policies: int, size: int, mean: float, shape: str = "ports") -> Row:
    return Row(plane, "two-nodes", shape, policies, size, 2000, 0, mean, mean - 2, mean + 50, 1.0, 1.0, 1.0, policies)


ROWS = [
    row("none", 0, 512, 70.0),
    row("tracking", 0, 512, 80.0),
    row("nftables", 0, 512, 100.0),
    row("nftables", 200, 512, 101.0),
    row("nftables", 10_000, 512, 102.5),
    row("none", 0, 1 << 20, 400.0),
    row("tracking", 0, 1 << 20, 410.0),
    row("nftables", 0, 1 << 20, 500.0),
    row("nftables", 200, 1 << 20, 500.0),
    row("nftables", 10_000, 1 << 20, 490.0),
    row("tracking", 0, 512, 80.0, "blocks"),
    row("nftables", 0, 512, 100.0, "blocks"),
]
GOALS = [Goal("nftables at 10,000 policies against 0: two-nodes, ports, .5k", 1.025, 1.02, 1.03, 1.05, "met")]

TABLES = """\
Mean request time in ms by response size (nftables, two-nodes, IPv4, policies that allow a port; \
2016: Romana on iptables, another machine)
policies    .5k     1M  2016 .5k  2016 1M
0         0.100  0.500     0.732   10.487
200       0.101  0.500     0.783   10.677
10,000    0.102  0.490         -        -

Cost of policies: mean against 0 policies (nftables, two-nodes, IPv4, policies that allow a port)
policies     .5k      1M  2016 .5k  2016 1M
200       +1.0 %  +0.0 %    +7.0 %   +1.8 %
10,000    +2.5 %  -2.0 %         -        -

"""


def test_the_two_tables_stand_in_the_form_of_2016_beside_its_figures():
    assert text(ROWS, GOALS).startswith(TABLES)


def test_every_row_and_every_goal_is_printed():
    lines = text(ROWS, GOALS).splitlines()
    assert sum("0 of 2,000" in line for line in lines) == len(ROWS)
    assert lines[-1].split() == [*GOALS[0].goal.split(), "1.025", "1.020-1.030", "1.05", "met"]


def test_cost_compares_with_no_policies_of_the_same_plane_path_shape_and_size():
    assert cost(ROWS[4], ROWS) == pytest.approx(2.5)


def test_each_row_is_compared_with_connection_tracking_at_its_own_size():
    lines = [line.split() for line in text(ROWS, GOALS).splitlines() if "0 of 2,000" in line]
    column = -5  # then elements and `0 of 2,000`
    assert [line[column] for line in lines if line[3:5] == ["nftables", "10,000"]] == ["1.288", "1.196"]


@pytest.mark.parametrize(
    ("size", "name"), [(512, ".5k"), (1024, "1k"), (10_240, "10k"), (102_400, "100k"), (1 << 20, "1M")]
)
def test_sizes_are_written_as_in_2016(size: int, name: str):
    assert size_name(size) == name
