"""How a record is one row of text: our own form as JSON, and blocks, of which there are many, as a short list. Pure.

A checksum over each row tells damage that SQLite itself does not see.
"""

import json
from zlib import crc32

from vallum.ipam.own import record, spec
from vallum.ipam.records import Block, Record
from vallum.model.address import Packed


def encode(of: Record) -> str:
    """The text of a record, without its name and revision."""
    if isinstance(of, Block):
        used, freed = (tuple(of.used), tuple(of.used.values())), (tuple(of.freed), tuple(of.freed.values()))
        row = (of.network, of.first, of.mask, of.host, of.tenant, *used, *freed)
        return json.dumps(row, separators=(",", ":"))
    return json.dumps(spec(of), separators=(",", ":"))


def decode(kind: str, name: str, revision: int, text: str) -> Record:
    """The record of a row. Raises InputError for one that `encode` did not write."""
    value = json.loads(text)
    if kind != "Block":
        return record(kind, name, value, revision)
    network, first, mask, host, tenant, used, owners, freed, times = value
    return Block(
        network=network,
        first=Packed(first),
        mask=mask,
        host=host,
        tenant=tenant,
        used=dict(zip(used, owners, strict=True)),
        freed=dict(zip(freed, times, strict=True)),
        revision=revision,
    )


def seal(kind: str, name: str, revision: int, text: str) -> int:
    """The checksum of a row."""
    return crc32(f"{kind} {name} {revision} {text}".encode())
