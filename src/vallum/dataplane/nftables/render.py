"""Tables -> nft program. The cost of a packet does not grow with the number of policies, peers, ports or blocks.

A packet is judged in its flow's original direction: `v4o`/`v6o` for packets of that direction, `v4r`/`v6r` for
replies, mirrored. Each looks its pod up (egress, then ingress) and meets one chain of that pod's profile: a bounded
number of look-ups in plain hash sets that both directions share. `return` means allowed, the end of the chain is the
denial. Only set elements change when pods come and go.
"""

from collections.abc import Iterable
from dataclasses import replace

from vallum.dataplane.nftables.frame import LOOKS, Look, deny_chains, frame_chains, source_sets
from vallum.dataplane.nftables.profile import ProfileRules, profile_rules
from vallum.dataplane.nftables.program import Chain, NftSet, Program
from vallum.model.address import Packed, family, show
from vallum.model.attachment import LocalNode
from vallum.policy.classify import Half, Tables
from vallum.policy.judge import side_of
from vallum.policy.ruleset import Ruleset, Way

_COMMENT = 120
"""Bytes of names in a comment; nft takes 128."""


def render(ruleset: Ruleset, tables: Tables, node: LocalNode, *, marks: bool = True) -> Program:
    """The whole table for one node. Raises AssertionError when two profiles would share a name.

    With `marks` a flow is judged once per revision and remembered in its conntrack mark, otherwise packet by packet.
    """
    sets: dict[str, NftSet] = dict(source_sets(tables, node))
    chains: dict[str, Chain] = dict(frame_chains(tables, node, marks=marks)) | dict(deny_chains())
    comments = _comments(ruleset)
    for way in Way:
        half = tables.half(way)
        for version in (4, 6):
            chosen = _profiles(half, version)
            rules = {name: profile_rules(half, way, version, name) for name in sorted(set(chosen.values()))}
            live = {name: found for name, found in rules.items() if found is not None}
            for found in live.values():
                sets |= found.sets
            for look in (look for look in LOOKS if look.way is way and look.version == version):
                members = {address: name for address, name in chosen.items() if name in live}
                sets[look.dispatch] = _dispatch(look, members)
                sets[look.isolated] = NftSet(look.address_type, {show(address): "" for address in members})
                chains |= _chains(look, live.values(), comments)
                sets |= _fans(look, live.values())
    return Program(sets, chains, frozenset(each.interface for each in node.attachments if not each.bridged))


def _profiles(half: Half, version: int) -> dict[Packed, str]:
    return {address: name for address, name in half.profiles.items() if family(address) == version}


def _dispatch(look: Look, members: dict[Packed, str]) -> NftSet:
    elements = {show(address): f"goto {look.chain(name)}" for address, name in members.items()}
    return NftSet(look.address_type, elements, data="verdict")


def _fans(look: Look, profiles: Iterable[ProfileRules]) -> dict[str, NftSet]:
    """A verdict names a chain of one look, so the maps that fan out exist once for each look."""
    return {
        look.fan(profile.name, suffix): replace(
            fan.declaration, elements={key: f"goto {look.chain(leaf)}" for key, leaf in fan.leaves.items()}
        )
        for profile in profiles
        for suffix, fan in profile.fans.items()
    }


def _chains(look: Look, profiles: Iterable[ProfileRules], comments: dict[str, str]) -> dict[str, Chain]:
    found = {}
    for profile in profiles:
        rules = (*(look.orient(rule, profile.name) for rule in profile.rules), f"goto {look.deny}")
        found[look.chain(profile.name)] = Chain(rules, comment=comments[profile.name])
        for name, leaf in profile.leaves.items():
            leaf_rules = (*(look.orient(rule, profile.name) for rule in leaf), f"goto {look.deny}")
            found[look.chain(name)] = Chain(leaf_rules)
    return found


def _comments(ruleset: Ruleset) -> dict[str, str]:
    """Full names behind a profile's hash; nft allows 128 bytes, so long lists end in a count."""
    found: dict[str, str] = {}
    keys: dict[str, object] = {}
    for local in ruleset.locals:
        for way in Way:
            side = side_of(local, way)
            if keys.setdefault(side.name, side.policies) != side.policies:
                raise AssertionError(f"two profiles are named {side.name}: {keys[side.name]} and {side.policies}")
            found.setdefault(side.name, _short([str(id_) for id_ in side.policies]))
    return found


def _short(names: list[str]) -> str:
    kept = ""
    for index, name in enumerate(names):
        rest = len(names) - index
        more = f" and {rest} more"
        if len(kept) + len(name) + len(more) + 2 > _COMMENT:
            return (kept + more).strip() if kept else f"{rest} policies"
        kept = f"{kept}, {name}" if kept else name
    return kept
