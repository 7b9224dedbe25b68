"""The allocator of one node of a cluster: from its own blocks at once, with a new block as soon as the API gives one.

What it cannot give now, because the API is away or was not read yet, is an ExhaustedError that says so: the runtime is
told to try later. What it ignores: when the API is written, which `ipam_host` tells and an agent does.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from vallum.ipam import ExhaustedError, Lease, Owner, Request, blocks, place
from vallum.ipam.records import Change, Host
from vallum.ipam.state import State
from vallum.model.address import Address
from vallum.model.selector import Labels
from vallum.sources.kube.ipam_bridge import AwayError, Remote
from vallum.sources.kube.ipam_host import HostStore

_TRIES = 5


class ClusterPools:
    """Implements `ipam.Allocator`; belongs to the thread of its store.

    Args:
        store: of this host.
        remote: the API, asked whether a prefix is ours alone.
        host: the name of this node.
        labels_of: the labels of a namespace, by name.
    """

    def __init__(self, store: HostStore, remote: Remote, host: str, labels_of: Callable[[str], Labels]) -> None:
        self._store = store
        self._remote = remote
        self._host = host
        self._labels_of = labels_of

    def join(self, labels: Labels, addresses: tuple[Address, ...]) -> None:
        """Take a place in the groups that fit these labels, or bring labels and addresses up to date.

        Raises InputError where no group takes it, AwayError where the API cannot be asked.
        """
        for _ in range(_TRIES):
            before = self._host_there()
            self._store.commit(lambda state: (place.join_again(state, self._host, labels, addresses), None))
            if self._host_there() == before or not self._yields():
                return

    def allocate(self, request: Request) -> Lease:
        """See `ipam.Allocator`."""
        if not self._store.certain:
            raise ExhaustedError(f"Host {self._host}", "its blocks are not known yet: the Kubernetes API was not read")
        mine = self._host_there()
        if mine is None or not mine.places:
            raise ExhaustedError(f"Host {self._host}", "has no place in the groups of any network yet")
        whole = replace(request, namespace=self._labels_of(request.pod.namespace))
        try:
            return self._store.commit(lambda state: blocks.allocate(state, self._host, whole, self._store.now()))
        except AwayError as error:
            text = f"its own blocks have no address left, and a new one needs the Kubernetes API: {error}"
            raise ExhaustedError(f"Host {self._host}", text) from error

    def free(self, owner: Owner) -> None:
        """See `ipam.Allocator`."""
        self._store.commit(lambda state: (blocks.free(state, self._host, owner, self._store.now()), None), later=True)

    def adopt(self, held: Mapping[Owner, tuple[Address, ...]]) -> None:
        """See `ipam.Allocator`."""

        def decide(state: State) -> tuple[Change, None]:
            return blocks.adopt(state, self._host, held, self._store.now()), None

        self._store.commit(decide, later=True)
        self._store.adopted()

    def _host_there(self) -> Host | None:
        return self._store.state().hosts.get(self._host)

    def _yields(self) -> bool:
        """Give the place up again where a host that joined at the same moment, and before us, has a prefix of ours."""
        mine = self._host_there()
        ours = {each.prefix for each in mine.places if each.prefix} if mine else set()
        if mine is None or not ours or self._store.state().blocks_of(self._host):
            return False
        others = [each for each in self._remote.everything("Host") if each.name != self._host]
        taken = {
            place.prefix
            for each in others
            if isinstance(each.record, Host) and each.record.revision < mine.revision
            for place in each.record.places
        }
        if not ours & taken:
            return False
        self._store.forget_place()
        for each in others:
            self._store.learn(each)
        return True
