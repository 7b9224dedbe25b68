"""The API for those who block: a thread that asks waits here while the event loop speaks.

It never keeps a thread for long. When the API is known to be away it says so at once, and after a silence it is not
asked again for a while. What it ignores: what is asked.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from typing import Any, TypeVar

from vallum.ipam.records import Record
from vallum.model.errors import KernelError
from vallum.sources.kube.access import Access
from vallum.sources.kube.client import Client
from vallum.sources.kube.errors import ApiError, UnreachableError
from vallum.sources.kube.ipam_api import IpamApi
from vallum.sources.kube.ipam_forms import Stored

Result = TypeVar("Result")
PATIENCE = 5.0
"""Seconds that an answer may take."""
_QUIET = 2.0
"""Seconds after no answer in which nobody asks: whoever waits would only wait again."""


class AwayError(KernelError):
    """The API gives no answer now, or refuses. Later it may."""


class Remote:
    """Asked by one thread, while the loop runs in another. Before `connect` nobody is there. All calls raise AwayError.

    `away`: what the loop knows to be wrong with the API, empty when all is well.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.away = ""
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._api: IpamApi | None = None
        self._asked: Future[Any] | None = None
        self._silent_until, self._said = float("-inf"), ""

    def connect(self, loop: asyncio.AbstractEventLoop, api: IpamApi) -> None:
        """From now on there is an API; on the loop."""
        self._loop, self._api = loop, api

    def close(self) -> None:
        """Nobody is there any more; who waits for an answer is told so now. On the loop."""
        self._loop = None
        asked = self._asked
        if asked is not None:
            asked.cancel()

    def put(self, record: Record, name: str = "") -> Stored:
        """See `IpamApi.put`. Raises ConflictError."""
        return self._ask(lambda api: api.put(record, name))

    def remove(self, record: Record, name: str = "") -> None:
        """See `IpamApi.remove`. Raises ConflictError."""
        return self._ask(lambda api: api.remove(record, name))

    def find(self, kind: str, name: str) -> Stored | None:
        """See `IpamApi.find`."""
        return self._ask(lambda api: api.find(kind, name))

    def has_node(self, name: str) -> bool:
        """See `IpamApi.has_node`."""
        return self._ask(lambda api: api.has_node(name))

    def everything(self, *kinds: str) -> list[Stored]:
        """See `IpamApi.everything`; of all kinds where none is named."""
        return self._ask(lambda api: api.everything(kinds) if kinds else api.everything())

    def _ask(self, question: Callable[[IpamApi], Coroutine[Any, Any, Result]]) -> Result:
        loop, api = self._loop, self._api
        said = self.away or (self._said if self._clock() < self._silent_until else "")
        if loop is None or api is None or said:
            raise AwayError(said or "the Kubernetes API is not connected yet")
        asked: Future[Result] = asyncio.run_coroutine_threadsafe(question(api), loop)
        self._asked = asked
        try:
            return asked.result(PATIENCE)
        except TimeoutError:
            asked.cancel()
            raise self._silent(f"{api.server}: no answer in {PATIENCE:g} s") from None
        except UnreachableError as error:
            raise self._silent(str(error)) from error
        except ApiError as error:
            raise AwayError(f"{api.server}: {error}") from error
        except CancelledError:
            raise AwayError("the Kubernetes API is not asked any more: we are about to end") from None

    def _silent(self, text: str) -> AwayError:
        self._silent_until, self._said = self._clock() + _QUIET, text
        return AwayError(text)


@contextmanager
def opened(access: Access) -> Iterator[Remote]:
    """A remote with a loop of its own in a thread, for commands and tests."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="kube", daemon=True)
    thread.start()
    client = Client(access)
    asyncio.run_coroutine_threadsafe(client.__aenter__(), loop).result()
    remote = Remote()
    remote.connect(loop, IpamApi(client, owned=False))
    try:
        yield remote
    finally:
        remote.close()
        asyncio.run_coroutine_threadsafe(client.__aexit__(None, None, None), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
