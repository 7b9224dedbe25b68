"""The documents of a world of old forms, read as what they mean in v1, and written as v1 manifests.

One decision for reading and for `vallum convert`, so that both mean the same. The meaning of 2016 applies where a
namespace carries its annotation, or where the caller says so; else old policies mean what v1 ones do, as they did from
Kubernetes 1.7 to 1.15. Ignores Romana's own form: `romana` and `convert` know it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from vallum.model.errors import InputError
from vallum.model.objects import Namespace, Policy, PolicyId
from vallum.policy.legacy import API_2016, modernise
from vallum.sources.decode import decode
from vallum.sources.encode import manifest
from vallum.sources.manifest import Document
from vallum.sources.old_forms import (
    Note,
    changes,
    in_v1,
    is_old,
    isolated,
    unsaid_in_2016,
    without_annotation,
)

_Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Modern:
    """Documents with the things that they mean, and what was not as in v1.

    `denials` stand for isolated namespaces. `written` has, by place, the v1 manifests of each document that is old,
    none for one that has no effect.
    """

    documents: tuple[Document, ...]
    denials: tuple[Policy, ...] = ()
    written: dict[str, tuple[_Body, ...]] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()
    errors: tuple[InputError, ...] = ()


def modern(documents: Sequence[Document], api: str | None) -> Modern:
    """Everything in its v1 meaning. `errors`: what cannot have the meaning of 2016."""
    annotated = [each for each in documents if isinstance(each.thing, Namespace) and isolated(each.body) is not None]
    old = [each for each in documents if isinstance(each.thing, Policy) and is_old(each.body)]
    if not annotated and not old:
        return Modern(tuple(documents))
    if not annotated and api != API_2016:
        return _in_the_meaning_of_v1(documents, old)
    return _in_the_meaning_of_2016(documents, annotated, old)


def _in_the_meaning_of_v1(documents: Sequence[Document], old: Sequence[Document]) -> Modern:
    written: dict[str, tuple[_Body, ...]] = {each.place: (in_v1(each.body, of_2016=False),) for each in old}
    text = "; in the meaning of v1, because no namespace carries the annotation of 2016: --api 2016 tells otherwise"
    notes = tuple(Note(each.place, _changes(each, of_2016=False) + text) for each in old)
    return Modern(tuple(documents), (), written, notes)


def _in_the_meaning_of_2016(
    documents: Sequence[Document], annotated: Sequence[Document], old: Sequence[Document]
) -> Modern:
    spaces = {_name(each): each for each in annotated if isolated(each.body)}
    taken = {each.thing.id for each in documents if isinstance(each.thing, Policy)}
    found = modernise(spaces.keys(), [_policy(each).id for each in old], taken)
    denials = {denial.id.namespace: denial for denial in found.denials}
    written: dict[str, tuple[_Body, ...]] = {}
    for each in annotated:
        denial = denials.get(_name(each))
        written[each.place] = (without_annotation(each.body), *([manifest(denial)] if denial else []))
    meant: dict[str, Document] = {}
    for each in old:
        adds = _policy(each).id in found.adding
        written[each.place] = (in_v1(each.body, of_2016=True),) if adds else ()
        meant[each.place] = _meant(each, adds=adds)
    return Modern(
        tuple(meant.get(each.place, each) for each in documents),
        found.denials,
        written,
        (*_space_notes(annotated, denials), *(_policy_note(each, found.adding) for each in old)),
        tuple(_unsaid(old)),
    )


def _name(document: Document) -> str:
    assert isinstance(document.thing, Namespace)
    return document.thing.name


def _policy(document: Document) -> Policy:
    assert isinstance(document.thing, Policy)
    return document.thing


def _meant(document: Document, *, adds: bool) -> Document:
    return replace(document, thing=decode("NetworkPolicy", in_v1(document.body, of_2016=True)) if adds else None)


def _space_notes(annotated: Sequence[Document], denials: Mapping[str, Policy]) -> Iterator[Note]:
    for each in annotated:
        denial = denials.get(_name(each))
        if denial:
            text = f"namespace {_name(each)} is isolated by its annotation; the policy {denial.id} stands for it"
        else:
            text = f"the annotation leaves namespace {_name(each)} open; old policies in it have no effect"
        yield Note(each.place, text)


def _policy_note(document: Document, adding: frozenset[PolicyId]) -> Note:
    id_ = _policy(document).id
    if id_ in adding:
        return Note(document.place, _changes(document, of_2016=True))
    text = f"policy {id_} is left out: namespace {id_.namespace} is not isolated, and in 2016 policies only added"
    return Note(document.place, text)


def _changes(document: Document, *, of_2016: bool) -> str:
    return f"policy {_policy(document).id}: {', '.join(changes(document.body, of_2016=of_2016))}"


def _unsaid(old: Sequence[Document]) -> Iterator[InputError]:
    for each in old:
        field_ = unsaid_in_2016(each.body)
        if field_:
            problem = f"{field_}: the API of 2016, which this world is read by, could not say this"
            yield InputError(each.place, f"{problem}; write apiVersion networking.k8s.io/v1 where v1 is meant")
