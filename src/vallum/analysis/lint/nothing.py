"""Why a selector matches nothing: the likeliest reason, one finding.

From the surest reason to the weakest: it contradicts itself; it would match only pods that no policy sees; a key
or value is one slip from one that exists; it would match in another namespace; a workload has the labels that its
template lacks. Ignores selectors that match something.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from vallum.analysis.lint.facts import Facts, Spaces, Vocabulary, some
from vallum.analysis.lint.finding import Finding, Path, about
from vallum.model.objects import NAME_LABEL, Policy
from vallum.model.selector import Operator, Requirement, Selector
from vallum.policy.selectors import matches

_NEEDS_KEY = (Operator.IN, Operator.EXISTS)


@dataclass(frozen=True, slots=True)
class Question:
    """A selector of a policy that matches no pod in these namespaces. `subject`: it is the policy's podSelector."""

    policy: Policy
    path: Path
    selector: Selector
    spaces: Spaces
    subject: bool

    def finding(self, rule: str, text: str, cure: str, key: str | None = None) -> Finding:
        """A finding at the selector, or at one of its labels."""
        return about(self.policy, rule, self.path if key is None else (*self.path, key), text, cure)

    @property
    def who(self) -> str:
        """What the selector belongs to, in words."""
        return "this policy" if self.subject else "this peer"


def why_no_pod(facts: Facts, question: Question) -> Finding:
    """The likeliest reason why no pod matches."""
    reasons = (_contradiction, _unseen, _slip, _elsewhere, _workload)
    for reason in reasons:
        for finding in reason(facts, question):
            return finding
    rule = "selects-nothing" if question.subject else "peer-nothing"
    where = _where(question)
    text = f"{question.who} matches no pod: none with {question.selector} {where}"
    if not question.selector.requirements:
        text = f"{question.who} matches no pod: there is none {where}"
    cure = "remove the policy, or select labels that pods have"
    return question.finding(
        rule, text, cure if question.subject else "remove the peer, or select labels that pods have"
    )


def _where(question: Question) -> str:
    return f"in {some(sorted(question.spaces), lambda name: f'namespace {name}')}"


def _contradiction(_: Facts, question: Question) -> Iterator[Finding]:
    yield from contradictions(question.policy, question.path, question.selector)


def contradictions(policy: Policy, path: Path, selector: Selector) -> Iterator[Finding]:
    """Two requirements that no label set can meet together."""
    for requirement in selector.requirements:
        for other in selector.requirements:
            if other.key == requirement.key and _clash(requirement, other):
                text = f"{Selector((requirement,))} and {Selector((other,))} never hold together"
                cure = "several values of one key go into one matchExpressions entry with `operator: In`"
                yield about(policy, "contradiction", (*path, requirement.key), text, cure)
                return


def _clash(one: Requirement, other: Requirement) -> bool:
    match one.operator, other.operator:
        case Operator.IN, Operator.IN:
            return not {*one.values} & {*other.values}
        case Operator.IN, Operator.NOT_IN:
            return {*one.values} <= {*other.values}
        case ((Operator.IN | Operator.EXISTS), Operator.DOES_NOT_EXIST):
            return True
        case _:
            return False


def _unseen(facts: Facts, question: Question) -> Iterator[Finding]:
    """Pods on the host's network and finished ones are neither subjects nor peers (stances 6 and 7)."""
    host = facts.host.of(question.selector, question.spaces)
    if host:
        text = f"{question.who} matches only pods on the host's network ({some(host)}), which no selector sees"
        cure = "protect the node itself" if question.subject else "write an ipBlock with the node's address"
        yield question.finding("host-network", text, cure)
    finished = facts.finished.of(question.selector, question.spaces)
    if finished:
        text = f"{question.who} matches only pods that have finished ({some(finished)})"
        yield question.finding("finished-pods", text, "remove it, or select pods that run")


def _slip(facts: Facts, question: Question) -> Iterator[Finding]:
    yield from slips(question, facts.vocabulary(question.spaces), "pod")


def slips(question: Question, known: Vocabulary, what: str) -> Iterator[Finding]:
    """A key or value that nobody has, near one that somebody has."""
    for requirement in question.selector.requirements:
        if requirement.operator not in _NEEDS_KEY:
            continue
        key = requirement.key
        if key not in known.values:
            near = known.keys.nearest(key)
            if near:
                text = f"no {what} here has the label `{key}`"
                yield question.finding("label-key-typo", text, f"did you mean `{near}`?", key)
        elif requirement.operator is Operator.IN and not known.values[key] & {*requirement.values}:
            for value in requirement.values:
                near = known.values_of(key).nearest(value)
                if near:
                    text = f"no {what} here has {key}={value}"
                    yield question.finding("label-value-typo", text, f"did you mean `{near}`?", key)


def _elsewhere(facts: Facts, question: Question) -> Iterator[Finding]:
    anchored = any(requirement.operator is Operator.IN for requirement in question.selector.requirements)
    if len(question.spaces) != 1 or not anchored:
        return
    found = [
        kind for kind in facts.living.of(question.selector, facts.all_spaces) if kind.namespace not in question.spaces
    ]
    names = sorted({kind.namespace for kind in found})
    if not names:
        return
    here = next(iter(question.spaces))
    text = f"no pod with {question.selector} in namespace {here}, but {some(found)} in another"
    if question.subject:
        cure = f"a policy selects pods of its own namespace; put it into {names[0]}"
        yield question.finding("selects-elsewhere", text, cure)
    else:
        cure = f"add `namespaceSelector: {{matchLabels: {{{NAME_LABEL}: {names[0]}}}}}` to this peer"
        yield question.finding("peer-elsewhere", text, cure)


def _workload(facts: Facts, question: Question) -> Iterator[Finding]:
    if len(question.spaces) != 1:
        return
    for workload in facts.workloads.get(next(iter(question.spaces)), ()):
        if matches(question.selector, dict(workload.labels)):
            text = f"{workload.kind} {workload.id} has the labels {question.selector}, but its pods do not"
            cure = f"label the pods in the template of {workload.id}, or select labels of the template"
            yield question.finding("workload-labels", text, cure)


def why_no_space(facts: Facts, question: Question) -> Finding:
    """The likeliest reason why no namespace matches a namespaceSelector."""
    for finding in _contradiction(facts, question):
        return finding
    for finding in slips(question, facts.space_vocabulary, "namespace"):
        return finding
    text = f"no namespace has {question.selector}"
    cure = "label the namespace so, or select one by `kubernetes.io/metadata.name`"
    for requirement in question.selector.requirements:
        meant = [value for value in requirement.values if value in facts.snapshot.namespaces]
        if requirement.operator is Operator.IN and meant:
            cure = f"every namespace has its name as a label: write `{NAME_LABEL}: {meant[0]}`"
    return question.finding("namespace-nothing", text, cure)
