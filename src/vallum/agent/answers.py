"""What the agent answers about the world that it enforces: why one end may talk to another, and the world itself.

The same analysis as on files, on the snapshot that the kernel holds. The world goes out as manifests, one a line, so
that any other question can be asked where more time and memory is.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from vallum.analysis.asked import Asked
from vallum.model.errors import InputError

_NOTHING_YET = {"error": "nothing is enforced yet; ask again when status has a revision"}


def explanation(asked: Asked | None, request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """One line: the explanation of the request's probe with the revision, or an error."""
    if asked is None:
        yield _NOTHING_YET
        return
    from vallum.analysis.explain import explain  # noqa: PLC0415 - enforcing must not wait for what nobody asked yet
    from vallum.analysis.probe import parse  # noqa: PLC0415

    probe = request.get("probe")
    if not isinstance(probe, dict):
        yield {"error": f'"probe" must be a probe as in docs/formats, got {probe!r}'}
        return
    try:
        yield {"revision": asked.snapshot.revision} | explain(asked, parse(probe)).facts()
    except InputError as error:
        yield {"error": str(error)}


def world(asked: Asked | None) -> Iterator[dict[str, Any]]:
    """A line with the revision and the number of objects, then each of them as a manifest."""
    if asked is None:
        yield _NOTHING_YET
        return
    from vallum.sources.encode import manifest  # noqa: PLC0415 - as above

    snapshot = asked.snapshot
    kinds: tuple[Mapping[Any, Any], ...] = (
        snapshot.namespaces,
        snapshot.nodes,
        snapshot.pools,
        snapshot.pods,
        snapshot.policies,
    )
    yield {"revision": snapshot.revision, "objects": sum(len(kind) for kind in kinds)}
    for kind in kinds:
        yield from map(manifest, kind.values())
