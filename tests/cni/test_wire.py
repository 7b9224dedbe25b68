"""A call is what the shim sends and nothing else."""

import os
import socket
import struct

import pytest

from vallum.cni.wire import LONGEST, Answer, BrokenCallError, Call, decode, size_of


def sent(body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + body


def test_variables_and_configuration_are_told_apart() -> None:
    call = decode(sent(b'CNI_COMMAND=ADD\0CNI_ARGS=A=1;B=2\0CNI_NETNS=\0\0{"a": "\\u0000"}'))
    assert call.environment == {"CNI_COMMAND": "ADD", "CNI_ARGS": "A=1;B=2", "CNI_NETNS": ""}
    assert call.stdin == b'{"a": "\\u0000"}'


@pytest.mark.parametrize(
    "data", [b"", b"\0\0", sent(b""), sent(b"A=1"), sent(b"A=1\0\0{}")[:-1], sent(b"A=1\0\0{}") + b"x"]
)
def test_what_is_cut_off_or_too_long_is_no_call(data: bytes) -> None:
    with pytest.raises(BrokenCallError):
        decode(data)


def test_a_call_of_absurd_size_is_refused_by_its_head() -> None:
    with pytest.raises(BrokenCallError, match=f"a call of {LONGEST + 1} bytes"):
        size_of(struct.pack(">I", LONGEST + 1))


def test_an_answer_is_its_length_the_status_and_the_text() -> None:
    assert Answer(1, b"abc").encode() == b"\0\0\0\3\1abc"


def test_descriptors_that_are_no_namespace_and_netlink_are_refused_and_closed() -> None:
    one, two = os.pipe()
    call = Call({}, b"")
    with pytest.raises(BrokenCallError):
        call.hold([one, two])
    call.close()
    call.close()
    for descriptor in (one, two):
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)


def test_a_namespace_and_a_netlink_socket_are_held_until_closed() -> None:
    call = Call({}, b"")
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).detach()
    namespace = os.open("/proc/self/ns/net", os.O_RDONLY)
    call.hold([namespace, netlink])
    assert (call.namespace, call.netlink) == (namespace, netlink)
    call.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(netlink)
