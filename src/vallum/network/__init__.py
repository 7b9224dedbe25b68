"""How nodes reach each other. One folder a back end; this file holds the interface and names them by string."""

from importlib import import_module
from typing import Protocol

from vallum.model.snapshot import Snapshot
from vallum.model.wiring import Wiring


class Backend(Protocol):
    """A back end decides; `kernel.sync` acts. `plan` is pure."""

    def __call__(self, snapshot: Snapshot, node: str) -> Wiring:
        """The links and routes that must exist on this node, and what could not be planned."""
        ...


BACKENDS: dict[str, str] = {
    "hostgw": "vallum.network.hostgw.plan:plan",
}
"""Back end name -> its plan. Adding one is one folder and one line here."""


def load(name: str) -> Backend:
    """The plan function of a back end. Raises KeyError for an unknown name."""
    module, _, attribute = BACKENDS[name].partition(":")
    backend: Backend = getattr(import_module(module), attribute)
    return backend
