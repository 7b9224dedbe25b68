"""The whole of a state as documents, and those put back over a state that may be newer. Pure.

What is put back replaces everything but what lives: an address that is held now stays with who holds it, in its block
where the restored groups allow that, else as a stray, and so is never handed out on the word of an old backup.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from vallum.ipam import Owner, own
from vallum.ipam.blocks import adopt
from vallum.ipam.fields import Fields
from vallum.ipam.place import stays
from vallum.ipam.records import Block, Change, Key, Record, key_of
from vallum.ipam.state import State
from vallum.ipam.verify import Finding, verify
from vallum.model.address import Address, Packed, pack, show, unpack
from vallum.model.errors import InputError, InputErrors

_ORDER = ("Network", "Topology", "Blackout", "Host", "Block", "Stray")


def documents(state: State) -> list[dict[str, Any]]:
    """Every record as an object of ours, in an order that does not depend on how it came to be."""
    found = sorted(state.records(), key=lambda each: (_ORDER.index(key_of(each).kind), _place(each)))
    return [own.document(each) for each in found]


def read(bodies: Iterable[Mapping[str, Any]]) -> list[Record]:
    """The records of such objects. Raises InputError for one that is none, or that stands twice."""
    found: dict[Key, Record] = {}
    for index, body in enumerate(bodies):
        fields = Fields(body, f"document {index + 1}", {"apiVersion", "kind", "metadata", "spec"})
        if fields.text("apiVersion") != own.API_VERSION:
            text = f"{body['apiVersion']!r} is not read here; write {own.API_VERSION}"
            raise InputError(fields.at("apiVersion"), text)
        name = Fields(body.get("metadata"), fields.at("metadata"), {"name"}).text("name")
        record = own.record(fields.text("kind"), name, body.get("spec"))
        if key_of(record) in found:
            raise InputError(str(key_of(record)), "stands twice; leave one out")
        found[key_of(record)] = record
    return list(found.values())


def put_back(state: State, records: Iterable[Record], now: float) -> tuple[Change, list[str]]:
    """Make the state what the records say, and which addresses in use now were kept though they say otherwise.

    Raises InputError(s) for records that contradict each other; then nothing is to be changed.
    """
    target = State()
    try:
        target.apply(Change(tuple(_not_later(each, now) for each in records)), 0)
    except (KeyError, ValueError) as error:
        text = f"its records do not belong together ({error}); take an export as it was written"
        raise InputError("import", text) from None
    _refuse(verify(target))
    _keep_hosts(state, target)
    now_held, then_held, kept = _in_use(state), _in_use(target), []
    homeless = [show(at) for held in now_held.values() for at in held if target.network_at(at) is None]
    if homeless:
        text = (
            f"{', '.join(homeless[:3])} ({len(homeless)} in all) are in use now, and no network of the import has them"
        )
        raise InputError("import", f"{text}; free them first, or add their network to it")
    taken = {at for held in now_held.values() for at in held}
    for host in now_held.keys() | then_held.keys():
        then, held = then_held.get(host, {}), now_held.get(host, {})
        wanted = {at: owner for at, owner in then.items() if at not in taken} | held
        kept += [show(at) for at, owner in held.items() if then.get(at) != owner]
        if wanted != then:
            target.apply(adopt(target, host, _by_owner(wanted), now), 0)
    _refuse(verify(target))
    return _difference(state, target), sorted(kept)


def _keep_hosts(state: State, target: State) -> None:
    """Hosts that joined since stay, where the groups that they are in are the same; agents may live there."""
    for host in state.hosts.values():
        fits = (
            at.network in target.networks and stays(target.networks[at.network], target.trees[at.network], host, at)
            for at in host.places
        )
        if host.name not in target.hosts and all(fits):
            target.apply(Change((host,)), 0)


def _not_later(record: Record, now: float) -> Record:
    """The clock of the ledger that was exported may be ahead of this one's: then what was freed rests anew."""
    if not isinstance(record, Block):
        return record
    return replace(record, freed={offset: min(at, now) for offset, at in record.freed.items()})


def _refuse(findings: list[Finding]) -> None:
    """Strays, of given addresses too, are what a ledger may hold in good order: they come from the nodes."""
    wrong = [each for each in findings if each.rule not in {"stray", "twice"}]
    errors = tuple(InputError(each.place, f"{each.text}; nothing was changed") for each in wrong)
    if errors:
        raise errors[0] if len(errors) == 1 else InputErrors(errors)


def _in_use(state: State) -> dict[str, dict[Packed, Owner]]:
    found: dict[str, dict[Packed, Owner]] = {}
    for host, owner, addresses in state.holding():
        found.setdefault(host, {}).update(dict.fromkeys(addresses, owner))
    for stray in state.strays.values():
        found.setdefault(stray.host, {})[pack(stray.address)] = stray.owner
    return found


def _by_owner(held: Mapping[Packed, Owner]) -> dict[Owner, list[Address]]:
    found: dict[Owner, list[Address]] = {}
    for at, owner in held.items():
        found.setdefault(owner, []).append(unpack(at))
    return found


def _difference(state: State, target: State) -> Change:
    old = {key_of(each): each for each in state.records()}
    new = {key_of(each): each for each in target.records()}
    puts = []
    for key, record in new.items():
        fresh = replace(record, revision=old[key].revision if key in old else 0)
        puts += [fresh] if fresh != old.get(key) else []
    return Change(tuple(puts), tuple(record for key, record in old.items() if key not in new))


def _place(record: Record) -> tuple[int, str]:
    return (record.first, "") if isinstance(record, Block) else (0, key_of(record).name)
