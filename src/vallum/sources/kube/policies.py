"""A NetworkPolicy from its wire shape, with the rules of `sources.decode`.

Servers have let through what is invalid, and a newer one may know what we do not. What cannot be read allows nothing
(stances 1 and 24) and is said in `problems`: a peer or a port stands for nobody; a subject or a direction that cannot
be read is taken as widely as it may be meant, and everything in it is closed.
"""

from vallum.model.address import Network, span
from vallum.model.objects import PROTOCOLS, Block, Peer, Policy, PolicyId, PolicyPort, PolicyRule
from vallum.model.selector import EVERYTHING, Operator, Requirement, Selector
from vallum.sources.kube import wire
from vallum.sources.kube.interned import Interned
from vallum.sources.kube.things import Problems, network

INGRESS, EGRESS = "Ingress", "Egress"
_NOBODY = Peer()
_VALUED = {Operator.IN: True, Operator.NOT_IN: True, Operator.EXISTS: False, Operator.DOES_NOT_EXIST: False}
"""Whether an operator goes with values."""


def policy(found: wire.Policy, interned: Interned, problems: Problems) -> Policy:
    """A policy; pieces of it that cannot be read allow nothing."""
    id_, spec = PolicyId(found.meta.namespace or "default", found.meta.name), found.spec or wire.PolicySpec()
    subject = _selector(spec.pods or wire.Selector(), "spec.podSelector", interned, problems)
    types = set(spec.types or [INGRESS, *([EGRESS] if spec.egress else [])])
    unknown = types - {INGRESS, EGRESS}
    if subject is None or unknown:
        problems += [f"spec.policyTypes: `{each}` is not known here" for each in sorted(unknown)]
        problems.append("all that it may select is closed")
        kept = subject or _readable(spec.pods or wire.Selector(), interned)
        both = {INGRESS, EGRESS} if unknown else types
        return Policy(id_, kept, () if INGRESS in both else None, () if EGRESS in both else None)
    return Policy(
        id_,
        subject,
        _rules(spec.ingress, "ingress", interned, problems) if INGRESS in types else None,
        _rules(spec.egress, "egress", interned, problems) if EGRESS in types else None,
    )


def closed(meta: wire.Meta) -> Policy:
    """A policy of which nothing but the name can be read."""
    return Policy(PolicyId(meta.namespace or "default", meta.name), EVERYTHING, (), ())


def _rules(listed: list[wire.Rule] | None, side: str, interned: Interned, problems: Problems) -> tuple[PolicyRule, ...]:
    rules = []
    for index, rule in enumerate(listed or ()):
        path, word = f"spec.{side}[{index}]", "from" if side == "ingress" else "to"
        peers = rule.sources if side == "ingress" else rule.targets
        found = [_peer(peer, f"{path}.{word}[{at}]", interned, problems) for at, peer in enumerate(peers or ())]
        ports = [_port(port, f"{path}.ports[{at}]", problems) for at, port in enumerate(rule.ports or ())]
        readable = tuple(port for port in ports if port)
        if readable or not ports:  # ports of which none can be read are no ports, and not every port
            rules.append(PolicyRule(tuple(found) or None, readable or None))
    return tuple(rules)


def _peer(peer: wire.Peer, path: str, interned: Interned, problems: Problems) -> Peer:
    if peer.block is not None:
        if peer.pods is not None or peer.namespaces is not None:
            problems.append(f"{path}: ipBlock beside a selector; this peer matches nothing")
            return _NOBODY
        block = _block(peer.block, f"{path}.ipBlock", problems)
        return Peer(block=block) if block else _NOBODY
    if peer.pods is None and peer.namespaces is None:
        problems.append(f"{path}: this peer is empty and matches nothing")
        return _NOBODY
    before = len(problems)
    pods = _selector(peer.pods, f"{path}.podSelector", interned, problems) if peer.pods else None
    spaces = _selector(peer.namespaces, f"{path}.namespaceSelector", interned, problems) if peer.namespaces else None
    return _NOBODY if len(problems) > before else Peer(pods, spaces)


def _block(found: wire.Block, path: str, problems: Problems) -> Block | None:
    """Exceptions outside of the block cut nothing; an unreadable one might cut anything."""
    whole = network(found.cidr, f"{path}.cidr", problems)
    cuts = [network(text, f"{path}.except[{at}]", problems) for at, text in enumerate(found.excepts or ())]
    if whole is None or None in cuts:
        return None
    inside = [cut for cut in cuts if cut and _overlap(cut, whole)]
    if any(span(cut)[0] <= span(whole)[0] and span(whole)[1] <= span(cut)[1] for cut in inside):
        return None
    return Block(whole, tuple(inside))


def _overlap(one: Network, other: Network) -> bool:
    return span(one)[0] <= span(other)[1] and span(other)[0] <= span(one)[1]


def _port(found: wire.PolicyPort, path: str, problems: Problems) -> PolicyPort | None:
    protocol = PROTOCOLS.get(found.protocol or "TCP")
    port, end = found.port, found.end
    if protocol is None:
        problem = f"the protocol `{found.protocol}` is not known here"
    elif isinstance(port, int) and not 1 <= port <= 65535:
        problem = f"{port} is no port"
    elif end is not None and not (isinstance(port, int) and port <= end <= 65535):
        problem = f"endPort {end} ends no range that begins with port {port}"
    else:
        return PolicyPort(protocol, port or None, end)
    problems.append(f"{path}: {problem}; this entry allows nothing")
    return None


def _selector(found: wire.Selector, path: str, interned: Interned, problems: Problems) -> Selector | None:
    """The selector, None where a requirement cannot be read."""
    before = len(problems)
    for index, each in enumerate(found.expressions or ()):
        if not _known(each):
            values = f" with {len(each.values or ())} values"
            problems.append(f"{path}.matchExpressions[{index}]: `{each.operator}`{values} is not known here")
    return None if len(problems) > before else _readable(found, interned)


def _known(expression: wire.Expression) -> bool:
    return _VALUED.get(expression.operator) is bool(expression.values)  # type: ignore[call-overload]  # a str equals it


def _readable(found: wire.Selector, interned: Interned) -> Selector:
    """The requirements that can be read: they select at least what all together would."""
    wanted = {Requirement(key, Operator.IN, (value,)) for key, value in (found.labels or {}).items()}
    for each in filter(_known, found.expressions or ()):
        wanted.add(Requirement(each.key, Operator(each.operator), tuple(sorted(set(each.values or ())))))
    return interned.value(Selector(tuple(sorted(wanted))))
