"""What a link may leave to its driver: segmentation, merging, checksums. Read and switched by the ethtool ioctl.

Of the thread's network namespace. Numbers after linux/ethtool.h and sockios.h. What it ignores: features by name, which
these cover for the links that we make.
"""

import ctypes
import fcntl
import os
import socket
import struct
from enum import Enum

from vallum.model.errors import KernelError

_SIOCETHTOOL = 0x8946


class Offload(Enum):
    """A feature: the commands that read and that set it."""

    TX_CHECKSUM = (0x16, 0x17)
    TSO = (0x1E, 0x1F)
    GSO = (0x23, 0x24)
    GRO = (0x2B, 0x2C)


def is_on(device: str, feature: Offload) -> bool:
    """Reports whether a link has this feature on. Raises KernelError."""
    return bool(_ask(device, feature, feature.value[0], 0))


def switch(device: str, feature: Offload, *, on: bool) -> None:
    """Switch a feature of a link. Raises KernelError, also where the driver keeps it as it was."""
    _ask(device, feature, feature.value[1], int(on))
    if is_on(device, feature) != on:
        raise KernelError(f"switch {feature.name} of {device}: its driver does not let it be {'on' if on else 'off'}")


def _ask(device: str, feature: Offload, command: int, value: int) -> int:
    data = ctypes.create_string_buffer(struct.pack("=II", command, value), 8)
    request = struct.pack("16sQ16x", device.encode(), ctypes.addressof(data))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            fcntl.ioctl(sock, _SIOCETHTOOL, request)
        except OSError as error:
            raise KernelError(f"{feature.name} of {device}: {os.strerror(error.errno or 0)}") from error
    found: int = struct.unpack("=II", data.raw)[1]
    return found
