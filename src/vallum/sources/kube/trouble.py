"""What a source has to say when not all is well. Apart from the rest, so that it can be named without its price."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Trouble:
    """The state of the source; it replaces the `Trouble` before it, and batches in between change nothing about it.

    Attributes:
        text: why the API cannot be followed now, one line a reason; empty when it can be.
        since: when that began (RFC 3339), None when nothing is wrong.
        objects: objects of which not all could be read, one line each: which, the field, what was made of it.
    """

    text: str
    since: str | None = None
    objects: tuple[str, ...] = ()
