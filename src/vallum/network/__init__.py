"""How nodes reach each other. One folder a back end; this file holds the interface and names them by string."""

from importlib import import_module
from typing import Protocol

from vallum.model.snapshot import Snapshot
from vallum.model.wiring import Wiring
from vallum.network.options import Options


class Backend(Protocol):
    """A back end decides; `kernel.sync` acts. `plan` is pure."""

    def __call__(self, snapshot: Snapshot, node: str, options: Options) -> Wiring:
        """What must exist on this node for the nodes of this snapshot, and what could not be planned.

        `roads` hands it the nodes and ranges that it shall carry, and no others.
        """
        ...


BACKENDS: dict[str, str] = {
    "hostgw": "vallum.network.hostgw.plan:plan",
    "ipip": "vallum.network.ipip.plan:plan",
    "vxlan": "vallum.network.vxlan.plan:plan",
}
"""Back end name -> its plan. Adding one is one folder and one line here."""


def load(name: str) -> Backend:
    """The plan function of a back end. Raises KeyError for an unknown name."""
    module, _, attribute = BACKENDS[name].partition(":")
    backend: Backend = getattr(import_module(module), attribute)
    return backend
