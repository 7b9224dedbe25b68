"""The pools of a cluster with every gap filled in: which one a range belongs to, and what is masqueraded.

Pure. A range outside of all pools belongs to a pool without a name, which is as the agent is set. What it ignores:
nodes, and how packets get to them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from vallum.model.address import Network, Packed, collapsed, span
from vallum.model.objects import Node, Pool
from vallum.model.wiring import Masquerade, Problem
from vallum.network import BACKENDS
from vallum.network.memo import Memo
from vallum.network.options import Defaults, Options

PLAIN = "hostgw"
"""The back end that encapsulates nothing."""


@dataclass(frozen=True, slots=True)
class Travel:
    """How packets to a pool travel. `pool` is empty outside of all pools."""

    pool: str
    backend: str
    encapsulation: str
    masquerade: bool
    mtu: int | None


def overlapped(pool: Pool, services: Iterable[Network]) -> str | None:
    """What is wrong with a pool that the networks of Services lie in, in words; None where none does."""
    first, last = span(pool.network)
    found = next((each for each in services if span(each)[0] <= last and first <= span(each)[1]), None)
    if found is None:
        return None
    return f"its network {pool.network} overlaps the service network {found} (--service-cidr); give pods another one"


class Pools:
    """Finds the pool of a range.

    Args:
        pools: by name. The smallest network that holds a range decides.
        defaults: fill in what a pool leaves open, and are all that there is outside of pools.
        options: for the MTU.
    """

    def __init__(self, pools: Mapping[str, Pool], defaults: Defaults, options: Options) -> None:
        self._else = Travel("", defaults.backend, defaults.encapsulation, defaults.masquerade, options.mtu)
        self._spans: list[tuple[Packed, Packed, Travel]] = []
        self._inside: list[Network] = [*defaults.services]
        self._collapsed: Memo[tuple[Network, ...]] = Memo()
        self.problems: list[Problem] = []
        for name in sorted(pools):
            pool = pools[name]
            self._inside.append(pool.network)
            overlap = overlapped(pool, defaults.services)
            self.problems += [Problem(f"pool {name}", overlap)] if overlap else []
            self._spans.append((*span(pool.network), self._travel(pool)))

    def of(self, network: Network) -> Travel:
        """How packets to this range travel."""
        if not self._spans:
            return self._else
        first, last = span(network)
        found = (each for each in self._spans if each[0] <= first and last <= each[1])
        return max(found, key=lambda each: each[0] - each[1], default=(0, 0, self._else))[2]

    def masquerade(self, own: Node, ranges: Iterable[Network]) -> Masquerade | None:
        """What of this node's pods leaves with another source, `ranges` being those of all nodes."""
        sources = tuple(each for each in own.pod_ranges if self.of(each).masquerade)
        if not sources:
            return None
        inside = (*self._inside, *ranges)
        return Masquerade(sources, self._collapsed.get("", (inside,), lambda: collapsed(inside)))

    @property
    def travels(self) -> tuple[Travel, ...]:
        """Every pool, and last what holds outside of them."""
        return (*dict.fromkeys(each[2] for each in self._spans), self._else)

    def mtus(self) -> list[tuple[str, int]]:
        """Every MTU that was asked for, and where."""
        *stated, usual = self.travels
        asked = [(f"of pool {each.pool}", each.mtu) for each in stated if each.mtu not in {None, usual.mtu}]
        return [(where, mtu) for where, mtu in (*asked, ("(--mtu)", usual.mtu)) if mtu is not None]

    def _travel(self, pool: Pool) -> Travel:
        backend = pool.backend or self._else.backend
        if backend not in BACKENDS:
            text = f"there is no back end {backend!r}; write one of {', '.join(BACKENDS)}"
            self.problems.append(Problem(f"pool {pool.name}", text))
        return Travel(
            pool.name,
            backend,
            pool.encapsulation or self._else.encapsulation,
            self._else.masquerade if pool.masquerade is None else pool.masquerade,
            pool.mtu or self._else.mtu,
        )
