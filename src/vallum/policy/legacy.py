"""The meaning that NetworkPolicy had in the API of 2016 (extensions/v1beta1 until Kubernetes 1.6), said in v1.

There a namespace was open unless an annotation isolated it, for ingress only, and policies only added. So an isolated
namespace becomes a policy that denies everything, beside which its policies add; and a policy of a namespace that is
not isolated had no effect, so it must not isolate anybody now. (Kubernetes' own notes for the upgrade to 1.7 say the
same.) Ignores how old manifests are written: `sources.old_forms` reads them.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from vallum.model.objects import Policy, PolicyId
from vallum.model.selector import EVERYTHING

API_2016 = "2016"
"""What a user calls this meaning where the world itself does not show it."""

_NAME = "default-deny"


@dataclass(frozen=True, slots=True)
class Modern:
    """What stands in v1 for a world of 2016: the policies that isolate, and which of the old ones still add."""

    denials: tuple[Policy, ...]
    adding: frozenset[PolicyId]


def modernise(isolated: Collection[str], old: Iterable[PolicyId], taken: Collection[PolicyId]) -> Modern:
    """The v1 form of these namespaces and old policies. `taken`: names that a policy has already."""
    denials = tuple(Policy(_free_name(name, taken), EVERYTHING, ()) for name in sorted(isolated))
    return Modern(denials, frozenset(id_ for id_ in old if id_.namespace in isolated))


def _free_name(namespace: str, taken: Collection[PolicyId]) -> PolicyId:
    found, number = PolicyId(namespace, _NAME), 2
    while found in taken:
        found, number = PolicyId(namespace, f"{_NAME}-{number}"), number + 1
    return found
