"""libbpf through ctypes: the calls that are used, typed, with refusals as KernelError that carry the errno.

The library brings what an object needs to be loaded (maps, relocations, types); iproute2 depends on it, so that a node
mostly has it. What it says goes into the text of the error instead of to stderr. What it ignores: everything
that `objects` and `maps` do not ask for.
"""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Final

from vallum.kernel.libc import RefusedError
from vallum.model.errors import KernelError

_LIBRARY: Final = "libbpf.so.1"
MISSING = f"{_LIBRARY} is not installed; on Debian 12 or Ubuntu 24.04: apt-get install libbpf1"

_Pointer, _Int, _Text = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p
_Count = ctypes.POINTER(ctypes.c_uint32)
_CALLS: dict[str, tuple[type | None, tuple[type, ...]]] = {
    "bpf_object__open_file": (_Pointer, (_Text, _Pointer)),
    "bpf_object__load": (_Int, (_Pointer,)),
    "bpf_object__close": (None, (_Pointer,)),
    "bpf_object__find_program_by_name": (_Pointer, (_Pointer, _Text)),
    "bpf_object__find_map_by_name": (_Pointer, (_Pointer, _Text)),
    "bpf_program__fd": (_Int, (_Pointer,)),
    "bpf_map__fd": (_Int, (_Pointer,)),
    "bpf_map__type": (_Int, (_Pointer,)),
    "bpf_map__key_size": (ctypes.c_uint32, (_Pointer,)),
    "bpf_map__value_size": (ctypes.c_uint32, (_Pointer,)),
    "bpf_map__max_entries": (ctypes.c_uint32, (_Pointer,)),
    "bpf_obj_get_info_by_fd": (_Int, (_Int, _Pointer, _Count)),
    "bpf_map_update_elem": (_Int, (_Int, _Text, _Text, ctypes.c_uint64)),
    "bpf_map_lookup_elem": (_Int, (_Int, _Text, _Pointer)),
    "bpf_map_delete_elem": (_Int, (_Int, _Text)),
    "bpf_map_update_batch": (_Int, (_Int, _Text, _Text, _Count, _Pointer)),
    "bpf_map_lookup_batch": (_Int, (_Int, _Pointer, _Pointer, _Pointer, _Pointer, _Count, _Pointer)),
    "bpf_map_delete_batch": (_Int, (_Int, _Text, _Count, _Pointer)),
    "bpf_prog_test_run_opts": (_Int, (_Int, _Pointer)),
    "libbpf_num_possible_cpus": (_Int, ()),
    "libbpf_set_print": (_Pointer, (_Pointer,)),
}
_PRINT = ctypes.CFUNCTYPE(_Int, _Int, _Text, _Pointer)
_SAID_SIZE = 1 << 16
_said: list[str] = []


@cache
def library() -> ctypes.CDLL:
    """The library, opened once. Raises KernelError, with the cure, where there is none."""
    try:
        found = ctypes.CDLL(_LIBRARY, use_errno=True)
    except OSError as error:
        raise KernelError(MISSING) from error
    for name, (result, arguments) in _CALLS.items():
        function = getattr(found, name)
        function.restype, function.argtypes = result, arguments
    found.libbpf_set_print(ctypes.cast(_listener, _Pointer))
    return found


@contextmanager
def listened() -> Iterator[list[str]]:
    """What the library says meanwhile, line by line; it is nowhere else to be read."""
    _said.clear()
    yield _said


def checked(code: int, operation: str) -> int:
    """The code, unless it is a refusal. Raises RefusedError, with its errno."""
    if code < 0:
        raise RefusedError(operation, -code)
    return code


def refusal(operation: str) -> RefusedError:
    """Of a call that answers with no pointer."""
    return RefusedError(operation, ctypes.get_errno())


def _hear(level: int, form: bytes, arguments: int) -> int:
    """Libbpf hands a format and a va_list, which only C can put together."""
    del level
    buffer = ctypes.create_string_buffer(_SAID_SIZE)
    length: int = _vsnprintf(buffer, _SAID_SIZE, form, arguments)
    _said.extend(os.fsdecode(buffer.value).splitlines())
    return length


_vsnprintf = ctypes.CDLL(None).vsnprintf
_vsnprintf.argtypes = (_Pointer, ctypes.c_size_t, _Text, _Pointer)
_listener = _PRINT(_hear)  # the library calls it as long as the process lives
