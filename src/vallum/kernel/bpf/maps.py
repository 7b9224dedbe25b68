"""A map of a loaded object: keys and values as bytes, one by one or thousands in a call.

100,000 entries go in within 0.1 s. Layouts are the caller's, who packs what the C source declares. What it ignores:
ring buffers and maps of maps.
"""

import ctypes
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from errno import ENOENT

from vallum.kernel.bpf.library import checked, library
from vallum.kernel.libc import RefusedError

_PER_CPU = frozenset({5, 6, 10})
"""BPF_MAP_TYPE_PERCPU_HASH, _PERCPU_ARRAY and _LRU_PERCPU_HASH."""
_BATCH = 4096


@dataclass(frozen=True, slots=True)
class Map:
    """Sizes in bytes. Of a map that each processor has its own of, a value read is those of all, one after the other.

    Every call raises RefusedError (a KernelError) with the name of the map and the kernel's reason.
    """

    name: str
    descriptor: int
    key_size: int
    value_size: int
    max_entries: int
    kind: int

    @property
    def read_size(self) -> int:
        """Bytes of a value as it is read."""
        if self.kind not in _PER_CPU:
            return self.value_size
        processors: int = library().libbpf_num_possible_cpus()
        return (self.value_size + 7) // 8 * 8 * processors

    def update(self, key: bytes, value: bytes) -> None:
        """Write one entry, new or not."""
        self._sized(key, value)
        checked(library().bpf_map_update_elem(self.descriptor, key, value, 0), f"write map {self.name}")

    def lookup(self, key: bytes) -> bytes | None:
        """The value that a program would find, or None."""
        self._sized(key)
        value = ctypes.create_string_buffer(self.read_size)
        try:
            checked(library().bpf_map_lookup_elem(self.descriptor, key, value), f"read map {self.name}")
        except RefusedError as error:
            if error.errno == ENOENT:
                return None
            raise
        return value.raw

    def delete(self, key: bytes) -> None:
        """Take one entry out; errno ENOENT if there is none."""
        self._sized(key)
        checked(library().bpf_map_delete_elem(self.descriptor, key), f"delete entries of map {self.name}")

    def update_all(self, entries: Mapping[bytes, bytes]) -> None:
        """Write many; on a refusal those before it stand."""
        for some in _parts(entries):
            values = [entries[key] for key in some]
            for key, value in zip(some, values, strict=True):
                self._sized(key, value)
            count = ctypes.c_uint32(len(some))
            keys, data = b"".join(some), b"".join(values)
            code = library().bpf_map_update_batch(self.descriptor, keys, data, ctypes.byref(count), None)
            checked(code, f"write map {self.name}")

    def delete_all(self, keys: Iterable[bytes]) -> None:
        """Take many out; one that is not there is no refusal."""
        for some in _parts(keys):
            left = some
            while left:
                count = ctypes.c_uint32(len(left))
                code = library().bpf_map_delete_batch(self.descriptor, b"".join(left), ctypes.byref(count), None)
                if code == 0:
                    break
                if code != -ENOENT:
                    checked(code, f"delete entries of map {self.name}")
                left = left[count.value + 1 :]

    def items(self) -> dict[bytes, bytes]:
        """Every entry. One that is added or deleted meanwhile may be missing or there."""
        found: dict[bytes, bytes] = {}
        place = ctypes.create_string_buffer(max(self.key_size, 4))
        keys = ctypes.create_string_buffer(_BATCH * self.key_size)
        values = ctypes.create_string_buffer(_BATCH * self.read_size)
        start, code = None, 0
        while code == 0:
            count = ctypes.c_uint32(_BATCH)
            code = library().bpf_map_lookup_batch(
                self.descriptor, start, place, keys, values, ctypes.byref(count), None
            )
            if code != -ENOENT:
                checked(code, f"read map {self.name}")
            found.update(zip(*self._cut(keys.raw, values.raw, count.value), strict=True))
            start = place
        return found

    def _cut(self, keys: bytes, values: bytes, count: int) -> tuple[list[bytes], list[bytes]]:
        key, value = self.key_size, self.read_size
        return (
            [keys[at : at + key] for at in range(0, count * key, key)],
            [values[at : at + value] for at in range(0, count * value, value)],
        )

    def _sized(self, key: bytes, value: bytes | None = None) -> None:
        """Bytes of another size would be read past their end."""
        if len(key) != self.key_size or (value is not None and len(value) != self.value_size):
            raise ValueError(f"map {self.name} has keys of {self.key_size} bytes and values of {self.value_size}")


def _parts(keys: Iterable[bytes]) -> Iterator[list[bytes]]:
    whole = list(keys)
    for at in range(0, len(whole), _BATCH):
        yield whole[at : at + _BATCH]
