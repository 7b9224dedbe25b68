"""Reading and writing the records of `ipam` in the API, one conditional request each.

A record is written only over the revision that it replaces, and one without a revision only where there is none: who
comes second gets a `ConflictError`, looks again and decides again. No lock, and nobody who must be elected.
"""

from collections.abc import AsyncIterator

import msgspec

from vallum.ipam.records import Key, Record, key_of
from vallum.sources.kube.client import Client
from vallum.sources.kube.errors import ApiError
from vallum.sources.kube.ipam_forms import KINDS, Stored, Thing, body, describe, host_of, name_of, path, stored
from vallum.sources.kube.reflector import LIMIT
from vallum.sources.kube.wire import Page

_NAMES = tuple(each.name for each in KINDS)
_page = msgspec.json.Decoder(Page[Thing]).decode


class ConflictError(Exception):
    """Somebody else wrote this record first."""

    def __init__(self, key: Key) -> None:
        super().__init__(f"{describe(key)} was written by somebody else at the same moment")
        self.key = key


class IpamApi:
    """Every call raises ApiError and UnreachableError, as those of the client do.

    Args:
        client: entered already.
        owned: hosts, blocks and strays must have a node to go with; without one they are refused (404 of the node).
    """

    def __init__(self, client: Client, *, owned: bool) -> None:
        self._client = client
        self._owned = owned

    @property
    def server(self) -> str:
        """The endpoint in use."""
        return self._client.server

    async def put(self, record: Record, name: str = "") -> Stored:
        """Create or replace; the record as it stands there then. Raises ConflictError."""
        key, name = key_of(record), name or name_of(record)
        found = body(record, name, await self._owner(record))
        try:
            if record.revision:
                answer = await self._client.replace(path(key.kind, name), found)
            else:
                answer = await self._client.create(path(key.kind), found)
        except ApiError as error:
            if error.code == 409 or (error.code == 404 and record.revision):
                raise ConflictError(key) from None
            raise
        return stored(key.kind, msgspec.convert(answer, Thing))

    async def remove(self, record: Record, name: str = "") -> None:
        """Delete just this revision; nothing where it is gone. Raises ConflictError where there is another by now."""
        key = key_of(record)
        condition = {"preconditions": {"resourceVersion": str(record.revision)}}
        try:
            await self._client.delete(path(key.kind, name or name_of(record)), body=condition)
        except ApiError as error:
            if error.code == 409:
                raise ConflictError(key) from None
            if error.code != 404:
                raise

    async def find(self, kind: str, name: str) -> Stored | None:
        """One object, as it is now. Raises InputError for one that cannot be read.

        It is listed: that needs no right besides those of whoever follows the kind.
        """
        page = _page(await self._client.fetch(path(kind), {"fieldSelector": f"metadata.name={name}"}))
        return next((stored(kind, thing) for thing in page.items or () if thing.meta.name == name), None)

    async def has_node(self, name: str) -> bool:
        """Reports whether there is a node of this name."""
        try:
            await self._client.get(f"/api/v1/nodes/{name}")
        except ApiError as error:
            if error.code == 404:
                return False
            raise
        return True

    async def everything(self, kinds: tuple[str, ...] = _NAMES) -> list[Stored]:
        """All objects of these kinds. Raises InputError for one that cannot be read."""
        found: list[Stored] = []
        for name in kinds:
            found += [stored(name, thing) async for thing in self._each(name)]
        return found

    async def _each(self, kind: str) -> AsyncIterator[Thing]:
        more = ""
        while True:
            params = {"limit": str(LIMIT)} | ({"continue": more} if more else {})
            page = _page(await self._client.fetch(path(kind), params))
            for thing in page.items or ():
                yield thing
            more = page.meta.more
            if not more:
                return

    async def _owner(self, record: Record) -> str | None:
        """The uid of the node now: one that came again under its name is another."""
        host = host_of(record)
        if host is None:
            return None
        try:
            node = await self._client.get(f"/api/v1/nodes/{host}")
        except ApiError as error:
            if error.code == 404 and not self._owned:
                return None
            raise
        return str(node["metadata"]["uid"])
