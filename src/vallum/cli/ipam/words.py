"""What people write on the command line of `vallum ipam`: addresses, ranges and labels; and groups of commands.

Each reader raises InputError that names the word and what would be right.
"""

from ipaddress import ip_address, ip_network

import click

from vallum.model.address import Address
from vallum.model.address import Network as Cidr
from vallum.model.errors import InputError
from vallum.model.selector import Labels, labels
from vallum.sources import syntax


class Listing(click.Group):
    """A group that lists when no command of it is named: `hosts` is `hosts list`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the name in."""
        if not args or (args[0].startswith("-") and args[0] != "--help"):
            args = ["list", *args]
        return super().parse_args(ctx, args)


def address(text: str, place: str) -> Address:
    """An address."""
    if problem := syntax.address(text):
        raise InputError(place, problem)
    return ip_address(text)


def is_address(text: str) -> bool:
    """Reports whether it is meant as an address rather than a name."""
    return syntax.address(text) is None


def cidr(text: str, place: str) -> Cidr:
    """A range."""
    if problem := syntax.cidr(text):
        raise InputError(place, problem)
    return ip_network(text)


def marks(texts: tuple[str, ...], place: str) -> Labels:
    """Labels, each `key=value`."""
    return labels(dict(_pair(text, place) for text in texts))


def relabelled(before: Labels, texts: tuple[str, ...], place: str) -> Labels:
    """Labels with changes as kubectl writes them: `key=value` sets one, `key-` removes one."""
    found = dict(before)
    for text in texts:
        if "=" not in text and text.endswith("-"):
            if found.pop(text[:-1], None) is None:
                raise InputError(place, f"there is no label {text[:-1]} to remove; labels are: {', '.join(found)}")
        else:
            key, value = _pair(text, place)
            found[key] = value
    return labels(found)


def _pair(text: str, place: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    problem = syntax.label_key(key) or syntax.label_value(value)
    if not equals:
        problem = f"`{text}` is no label; write key=value"
    if problem:
        raise InputError(place, problem)
    return key, value
