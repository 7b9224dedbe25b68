"""What the reader of manifests refuses, as findings: by the rule that it breaks, or else `invalid`.

Such an object is left out of the world, so no other rule speaks of it. The reader's lines end with the cure.
"""

import re

from vallum.analysis.lint.finding import Finding
from vallum.analysis.lint.ignores import Place, Placed
from vallum.analysis.lint.table import INVALID
from vallum.model.errors import InputError

_PLACE = re.compile(r"(.+):([0-9]+):([0-9]+)")
_RULES = (
    (re.compile(r"is the address of \S+ already"), "address-twice"),
    (re.compile(r"this peer is empty"), "empty-peer"),
    (re.compile(r"does not lie inside of the block"), "except-outside"),
    (re.compile(r"\.except\[.*is the whole block"), "except-everything"),
    (re.compile(r"has bits set behind its prefix"), "host-bits"),
    (
        re.compile(r"ports\[[0-9]+\]\.protocol: `(?:ICMP|ICMPv6|IGMP|GRE|ESP|AH|ALL|ANY)`", re.IGNORECASE),
        "portless-protocol",
    ),
)


def invalid(error: InputError) -> Placed:
    """The finding that an error of the reader is. Without a line the whole file is meant."""
    rule = next((id_ for pattern, id_ in _RULES if pattern.search(error.problem)), INVALID)
    found = _PLACE.fullmatch(error.place)
    place = Place(found[1], int(found[2]), int(found[3])) if found else Place(error.place or "-", 1, 1)
    text, _, cure = error.problem.partition("; ")
    return Placed(Finding(rule, ("File", "", place.file), (), text, cure), place)
