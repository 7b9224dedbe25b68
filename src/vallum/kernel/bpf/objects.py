"""An object file of programs and maps, loaded: its descriptors live as long as this process, or until `close`.

What holds a program on (an attachment, a pin) is the caller's; a program holds its maps. CAP_BPF and CAP_NET_ADMIN
suffice. What it ignores: types of the running kernel, and objects of other programs.
"""

import ctypes
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from vallum.kernel.bpf.library import checked, library, listened, refusal
from vallum.kernel.bpf.maps import Map
from vallum.kernel.libc import RefusedError
from vallum.model.errors import KernelError

_NOT_OF_THE_VERIFIER = ("libbpf:", "processed ", "verification time", "stack depth", "-- ")
_INFO_SIZE = 256
"""Bytes of struct bpf_prog_info that we take; the kernel fills as many as there are."""


@dataclass(frozen=True, slots=True)
class Program:
    """A loaded program. `number`: the kernel's id of it, never used again before the next boot."""

    name: str
    descriptor: int
    number: int


class LoadError(KernelError):
    """An object was refused; the text has what the verifier said last, `errno` says how."""

    def __init__(self, refused: RefusedError, said: list[str]) -> None:
        lines = [line.strip() for line in said if line.strip() and not line.startswith(_NOT_OF_THE_VERIFIER)]
        super().__init__(f"{refused} ({lines[-1]})" if lines else str(refused))
        self.errno = refused.errno


class Object:
    """One object file in the kernel. Raises KernelError, if it does not load a LoadError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with listened() as said:
            self._object = library().bpf_object__open_file(str(path).encode(), None)
            if not self._object:
                raise refusal(f"open {path}")
            try:
                checked(library().bpf_object__load(self._object), f"load {path.name}")
            except RefusedError as error:
                self.close()
                raise LoadError(error, said) from error

    def close(self) -> None:
        """Give the descriptors back."""
        if self._object:
            library().bpf_object__close(self._object)
            self._object = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def program(self, name: str) -> Program:
        """Raises KernelError if there is none of this name."""
        found = library().bpf_object__find_program_by_name(self._object, name.encode())
        if not found:
            raise refusal(f"find program {name} in {self._path.name}")
        descriptor = library().bpf_program__fd(found)
        return Program(name, descriptor, _number(descriptor))

    def map(self, name: str) -> Map:
        """Raises KernelError if there is none of this name."""
        found, lib = library().bpf_object__find_map_by_name(self._object, name.encode()), library()
        if not found:
            raise refusal(f"find map {name} in {self._path.name}")
        sizes = lib.bpf_map__key_size(found), lib.bpf_map__value_size(found), lib.bpf_map__max_entries(found)
        return Map(name, lib.bpf_map__fd(found), *sizes, kind=lib.bpf_map__type(found))


class _TestRun(ctypes.Structure):
    """struct bpf_test_run_opts."""

    _fields_ = (
        ("sz", ctypes.c_size_t),
        *((name, ctypes.c_void_p) for name in ("data_in", "data_out")),
        *((name, ctypes.c_uint32) for name in ("data_size_in", "data_size_out")),
        *((name, ctypes.c_void_p) for name in ("ctx_in", "ctx_out")),
        *((name, ctypes.c_uint32) for name in ("ctx_size_in", "ctx_size_out", "retval")),
        ("repeat", ctypes.c_int),
        *((name, ctypes.c_uint32) for name in ("duration", "flags", "cpu", "batch_size")),
    )


def run(program: Program, frame: bytes) -> tuple[int, bytes]:
    """What a program returns for this Ethernet frame, and what it makes of it, without a device. Raises KernelError."""
    room = ctypes.create_string_buffer(len(frame) + 256)
    opts = _TestRun(sz=ctypes.sizeof(_TestRun), data_size_in=len(frame), data_size_out=len(room))
    source = ctypes.create_string_buffer(frame, len(frame))
    opts.data_in, opts.data_out = ctypes.addressof(source), ctypes.addressof(room)
    checked(library().bpf_prog_test_run_opts(program.descriptor, ctypes.byref(opts)), f"run {program.name}")
    return ctypes.c_int32(opts.retval).value, room.raw[: opts.data_size_out]


def _number(descriptor: int) -> int:
    """The id stands second in struct bpf_prog_info, after the type."""
    info, length = (ctypes.c_uint32 * (_INFO_SIZE // 4))(), ctypes.c_uint32(_INFO_SIZE)
    code = library().bpf_obj_get_info_by_fd(descriptor, ctypes.byref(info), ctypes.byref(length))
    checked(code, "read the id of a program")
    return int(info[1])
