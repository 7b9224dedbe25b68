"""The syntax of single values: names, labels, addresses, ranges, ports. Each check returns what is wrong, or None.

The rules are those of the API server (apimachinery validation, RFC 1123, RFC 6335), stricter where a server
would accept and mean something else than was written: addresses with host bits, IPv4 mapped into IPv6.
"""

import re
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network

Check = Callable[[str], str | None]

_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(rf"{_LABEL.pattern}(?:\.{_LABEL.pattern})*")
_QUALIFIED = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?")
_PORT_NAME = re.compile(r"(?=.*[a-z])[a-z0-9](?:-?[a-z0-9])*")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:[.][0-9]+)?(?:Z|[-+][0-9]{2}:[0-9]{2})")
_PREFIX = re.compile(r"0|[1-9][0-9]{0,2}")


def short_name(text: str) -> str | None:
    """A name of 63 characters without dots (RFC 1123 label): namespaces, Services."""
    if len(text) > 63:
        return f"`{cut(text)}` has {len(text)} characters; a name here has at most 63"
    if _LABEL.fullmatch(text):
        return None
    return f"`{cut(text)}` is no name: lower-case letters, digits and `-`, a letter or digit at both ends"


def long_name(text: str) -> str | None:
    """A name of 253 characters, dots allowed (RFC 1123 subdomain): pods, nodes, policies."""
    if len(text) > 253:
        return f"`{cut(text)}` has {len(text)} characters; a name has at most 253"
    if _SUBDOMAIN.fullmatch(text):
        return None
    return f"`{cut(text)}` is no name: lower-case letters, digits, `-` and `.`, a letter or digit at both ends"


def label_key(text: str) -> str | None:
    """`name` or `prefix/name`."""
    prefix, slash, name = text.rpartition("/")
    if slash and (len(prefix) > 253 or not _SUBDOMAIN.fullmatch(prefix)):
        return f"`{cut(text)}` is no label key: before the `/` stands a domain such as `app.kubernetes.io`"
    if len(name) > 63:
        return f"`{cut(text)}` is no label key: {len(name)} characters, at most 63 (behind the `/`) are allowed"
    if not _QUALIFIED.fullmatch(name):
        allowed = "letters, digits, `-`, `_` and `.`, a letter or digit at both ends"
        return f"`{cut(text)}` is no label key: {allowed}"
    return None


def annotation_key(text: str) -> str | None:
    """As a label key, but in any case of letters."""
    problem = label_key(text.lower())
    return problem.replace("label", "annotation") if problem else None


def label_value(text: str) -> str | None:
    """At most 63 characters; may be empty."""
    if len(text) > 63:
        return f"`{cut(text)}` has {len(text)} characters; a label value has at most 63"
    if text and not _QUALIFIED.fullmatch(text):
        allowed = "letters, digits, `-`, `_` and `.`, a letter or digit at both ends"
        return f"`{cut(text)}` is no label value: {allowed}"
    return None


def port_name(text: str) -> str | None:
    """A service name (RFC 6335)."""
    if text.isdecimal():
        return f"`{text}` is text; write {int(text[:9])} without quotes for the number"
    if len(text) <= 15 and _PORT_NAME.fullmatch(text):
        return None
    return f"`{cut(text)}` is no port name: at most 15 lower-case letters, digits and single `-`, one a letter"


def address(text: str) -> str | None:
    """An address that a pod or node can have."""
    try:
        parsed = ip_address(text)
    except ValueError:
        cure = f"; write {text.partition('/')[0]} without the prefix" if "/" in text else ""
        return f"`{cut(text)}` is no IPv4 or IPv6 address{cure}"
    if isinstance(parsed, IPv6Address) and (parsed.scope_id or parsed.ipv4_mapped):
        return f"`{text}` is no address of its own; write the IPv4 address, or leave the zone out"
    if parsed.is_unspecified or parsed.is_multicast or parsed.is_loopback or parsed.is_link_local:
        return f"`{text}` cannot be the address of a pod or node: unspecified, multicast, loopback or link-local"
    return None


def local_addresses(text: str) -> str | None:
    """Addresses parted by commas, or none. Link-local ones are meant here: node-local DNS has one."""
    for item in (part.strip() for part in text.split(",") if text.strip()):
        try:
            ip_address(item)
        except ValueError:
            return f"`{cut(item)}` is no address; write addresses with commas between them, such as 10.0.0.1,fd00::1"
    return None


def cidrs(text: str) -> str | None:
    """Ranges parted by commas, or none."""
    return next((wrong for part in text.split(",") if part.strip() and (wrong := cidr(part.strip()))), None)


def cidr(text: str) -> str | None:
    """A network with its prefix length and no bit set behind it."""
    base, slash, prefix = text.partition("/")
    try:
        parsed = ip_address(base)
    except ValueError:
        return f"`{cut(text)}` is no range of addresses; write one such as 10.0.0.0/8 or fd00::/8"
    if not slash:
        return f"`{text}` has no prefix length; write {text}/{parsed.max_prefixlen} for this one address"
    if not _PREFIX.fullmatch(prefix) or int(prefix) > parsed.max_prefixlen:
        return f"`{cut(text)}` has no prefix length from 0 to {parsed.max_prefixlen} behind the `/`"
    if isinstance(parsed, IPv6Address) and (parsed.scope_id or parsed.ipv4_mapped):
        return f"`{text}` is no range of its own; write it as IPv4, or leave the zone out"
    network = ip_network(text, strict=False)
    if network.network_address != parsed:
        return f"`{text}` has bits set behind its prefix; write {network}, or {base}/{parsed.max_prefixlen}"
    return None


def time(text: str) -> str | None:
    """RFC 3339."""
    return None if _TIME.fullmatch(text) else f"`{cut(text)}` is no time; write one such as 2024-05-01T12:00:00Z"


def one_of(*words: str) -> Check:
    """A check for exactly these words; other cases of letters get their own cure."""

    def check(text: str) -> str | None:
        if text in words:
            return None
        near = nearest(text, words)
        cure = f"did you mean {near}?" if near else f"write {', '.join(words[:-1])} or {words[-1]}"
        return f"`{cut(text)}` is not known here; {cure}"

    return check


def nearest(word: str, known: "tuple[str, ...] | list[str]") -> str | None:
    """The known word that was likely meant: equal but for case, or one or two slips away."""
    scored = sorted((_slips(word.casefold(), other.casefold()), other) for other in known)
    if not scored:
        return None
    slips, best = scored[0]
    return best if slips <= (1 if min(len(best), len(word)) < 6 else 2) else None


def cut(text: str, length: int = 80) -> str:
    """The text, or its beginning where it is too long for a message of one line."""
    return text if len(text) <= length else f"{text[: length - 3]}..."


def _slips(one: str, other: str) -> int:
    """Letters left out, added, changed or swapped between two words (optimal string alignment)."""
    if abs(len(one) - len(other)) > 2:
        return 3
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, start=1):
        older, before, row = before, row, [i]
        for j, match in enumerate(other, start=1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != match))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == match:
                cost = min(cost, older[j - 2] + 1)
            row.append(cost)
    return row[-1]
