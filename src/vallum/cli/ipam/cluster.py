"""The store of a cluster for `vallum ipam`: objects of the Kubernetes API, and whose they are.

The Host, Blocks and Strays of a node are its agent's to write: the node's own ledger and kernel know better what is in
use, and what the API says of it is half a minute old. Layouts belong to all, and so to these commands; so does a host
that is no node and has no agent. What it ignores: what is decided.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path

from vallum.ipam.records import Block, Change, Host, Record, key_of
from vallum.ipam.state import State
from vallum.ipam.topology import check
from vallum.model.errors import InputError
from vallum.sources.kube.access import Access, in_cluster
from vallum.sources.kube.errors import ApiError
from vallum.sources.kube.ipam_bridge import AwayError, Remote
from vallum.sources.kube.ipam_bridge import opened as connected
from vallum.sources.kube.ipam_forms import host_of
from vallum.sources.kube.ipam_layout import LAYOUT, layout_of
from vallum.sources.kube.ipam_store import KubeStore
from vallum.sources.kube.kubeconfig import from_kubeconfig

_MEND = "mend it with kubectl, until then agents keep the last good layout"


class Cluster(KubeStore):
    """Implements `store.Opened`.

    Args:
        remote: the API.
        whole: records that do not fit together are shown as they are. Otherwise a layout that cannot be meant is
            refused, and what has no place in the layout is left out: agents may be behind, or have refused it.
    """

    def __init__(self, remote: Remote, *, whole: bool) -> None:
        super().__init__(remote)
        self._whole = whole
        self._is_node = cache(remote.has_node)

    def state(self) -> State:
        """See `Store`. Raises InputError for a layout that cannot be meant."""
        try:
            found = super().state()
        except ValueError as error:  # not even the tree can be drawn
            raise InputError("Topology", f"{error}; {_MEND}") from error
        return found if self._whole else _fitting(found)

    def by_hand(self, host: str, cure: str) -> None:
        """See `Opened`."""
        if self._is_node(host):
            raise InputError(f"Host {host}", f"is a node of this cluster, and its agent's to change; {cure}")

    def ours(self, state: State, change: Change) -> Change:
        """See `Opened`."""
        puts = tuple(each for each in change.puts if not self._is_agents(state, each))
        return Change(puts, tuple(each for each in change.gone if not self._is_agents(state, each)))

    def _is_agents(self, state: State, record: Record) -> bool:
        before = state.find(key_of(record))
        old, new = host_of(before) if before else None, host_of(record)
        if new is not None and self._is_node(new):
            return True
        if old is None or not self._is_node(old):
            return False
        if new is not None:
            text = f"belongs to node {old} by now, and would be given to host {new}; leave it and its addresses out"
            raise InputError(str(key_of(record)), text)
        return True


@contextmanager
def shared(kubeconfig: Path | None, *, whole: bool) -> Iterator[Cluster]:
    """The store of the cluster of this kubeconfig, or else of the usual one.

    Raises InputError where no cluster is named, or it does not know our kinds; AwayError where it does not answer.
    """
    with connected(from_kubeconfig(kubeconfig) if kubeconfig else _usual()) as remote:
        try:
            yield Cluster(remote, whole=whole)
        except AwayError as error:
            if isinstance(error.__cause__, ApiError) and error.__cause__.code == 404:
                text = "it knows no networks.vallum.dev and the other kinds of addresses; apply deploy/crds.yaml first"
                raise InputError("Kubernetes API", text) from error
            raise


def _usual() -> Access:
    """Where kubectl would look."""
    told, home = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0], Path.home() / ".kube" / "config"
    if told or home.is_file():
        return from_kubeconfig(told or home)
    if os.environ.get("KUBERNETES_SERVICE_HOST"):
        return in_cluster()
    raise InputError("--cluster", f"KUBECONFIG is not set, and there is no {home}; give --kubeconfig FILE")


def _fitting(state: State) -> State:
    """Without the places and blocks that the layout has no room for."""
    layout = layout_of(each for each in state.records() if isinstance(each, LAYOUT))
    try:
        check(layout)
    except InputError as error:
        raise InputError(error.place, f"{error.problem}; {_MEND} (`vallum ipam verify` lists all)") from None
    records = tuple(state.records())
    kept = tuple(_fitted(state, each) for each in records if not _is_lost(state, each))
    return state if kept == records else State(kept, state.revision)


def _is_lost(state: State, record: Record) -> bool:
    return isinstance(record, Block) and record.network not in state.networks


def _fitted(state: State, record: Record) -> Record:
    if not isinstance(record, Host):
        return record
    trees = state.trees
    stand = tuple(each for each in record.places if each.network in trees and each.path in trees[each.network].spots)
    return record if stand == record.places else replace(record, places=stand)
