"""The result of `bench throughput` as text: the study's figures beside ours, then what else was seen. Pure.

The study's machines and link are not ours; a share of direct is what compares.
"""

from collections.abc import Sequence

from vallum.lab.bench.report import Goal, goals_text, lay
from vallum.lab.bench.throughput_plan import DIRECT, LINK
from vallum.lab.bench.throughput_results import Row

STUDY = (
    ("flannel host-gw", 93, "hostgw"),
    ("Calico BGP", 93, "hostgw"),
    ("Calico, IaaS addresses, host affinity", 93, "hostgw"),
    ("flannel aws-vpc", 93, "hostgw"),
    ("Calico BGP + ipip", 64, "ipip"),
    ("flannel vxlan", 45, "vxlan"),
    ("Canal", 45, "vxlan, policies"),
)
"""Percent of direct in the container network study of 2016, and which road of ours does the same work."""


def text(rows: Sequence[Row], goals: Sequence[Goal]) -> str:
    """All tables, for a terminal or a file."""
    return "\n\n".join([_study(rows), *_conditions(rows), goals_text("Goals", goals, digits=1)])


def _study(rows: Sequence[Row]) -> str:
    """Percent of direct as the study tells it, one line a network of theirs."""
    shares = {(_named(row), row.link, row.offload): row.percent for row in rows}
    columns = list(dict.fromkeys((row.link, row.offload) for row in rows))
    head = ["2016", "%", "ours", *(_title(link, offload=offload) for link, offload in columns)]
    body = [
        [name, str(then), ours, *(_percent(shares.get((ours, link, offload))) for link, offload in columns)]
        for name, then, ours in STUDY
    ]
    title = f"One TCP stream between pods, % of direct host to host (link-bound: {LINK / 1e9:g} Gbit/s between nodes)"
    return f"{title}\n{lay([head, *body])}"


def _conditions(rows: Sequence[Row]) -> list[str]:
    parts = []
    for link, offload in dict.fromkeys((row.link, row.offload) for row in rows):
        same = [row for row in rows if (row.link, row.offload) == (link, offload)]
        parts.append(f"{_title(link, offload=offload)}\n{_table(same)}")
    return parts


def _table(rows: Sequence[Row]) -> str:
    head = ["road", "policies", "Gbit/s", "% of direct", "95 %", "points", "95 %", "CPU ms/GB", "again/GB", "payload"]
    body = [
        [
            *(row.road, "tracking" if row.tracking else f"{row.policies:,}", f"{row.gbps:.2f}"),
            *(["-", "-"] if row.road == DIRECT else [f"{row.percent:.1f}", _span(row.percent_low, row.percent_high)]),
            *(["-", "-"] if row.cost is None else [f"{row.cost:+.1f}", _span(row.cost_low or 0, row.cost_high or 0)]),
            *(f"{row.cpu_ms_per_gb:.0f}", f"{row.again_per_gb:.1f}", str(row.segment)),
        ]
        for row in rows
    ]
    return lay([head, *body])


def _named(row: Row) -> str:
    return f"{row.road}, {'tracking' if row.tracking else 'policies'}" if row.tracking or row.policies else row.road


def _title(link: str, *, offload: bool) -> str:
    return f"{link}, offload {'on' if offload else 'off'}"


def _span(low: float, high: float) -> str:
    return f"{low:.1f} to {high:.1f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
