"""Namespaces by name: made, entered, left and removed without a program and without a trace."""

import socket
import threading
from pathlib import Path

import pytest

from inside import run_inside
from vallum.kernel import netns, sysctl
from vallum.model.errors import KernelError

pytestmark = pytest.mark.packets


def test_a_namespace_is_there_until_it_is_deleted() -> None:
    def piece() -> tuple[object, ...]:
        netns.create("a")
        made = netns.exists("a"), netns.names()
        netns.delete("a")
        return (*made, netns.exists("a"), netns.names())

    assert run_inside(piece) == (True, ("a",), False, ())


def test_a_file_that_a_crash_left_is_no_namespace_and_can_be_deleted() -> None:
    def piece() -> tuple[bool, tuple[str, ...], tuple[str, ...]]:
        (netns.FOLDER / "left").touch()
        found, listed = netns.exists("left"), netns.names()
        netns.delete("left")
        return found, listed, netns.names()

    assert run_inside(piece) == (False, ("left",), ())


def test_a_name_is_given_once() -> None:
    def piece() -> str:
        netns.create("a")
        with pytest.raises(KernelError) as caught:
            netns.create("a")
        return str(caught.value)

    assert run_inside(piece) == "create network namespace a: File exists"


def test_an_unknown_name_is_refused_by_name() -> None:
    with (
        pytest.raises(KernelError, match="network namespace nowhere-at-all: No such file"),
        netns.entered("nowhere-at-all"),
    ):
        pass


@pytest.mark.parametrize("name", ["", ".", "..", "a/b"])
def test_a_path_is_no_name(name: str) -> None:
    with pytest.raises(ValueError, match="not a name"):
        netns.exists(name)


def test_the_thread_is_back_home_after_the_block_and_after_an_error_in_it() -> None:
    def piece() -> bool:
        netns.create("a")
        home = _here()
        with netns.entered("a"):
            away = _here()
        with pytest.raises(RuntimeError), netns.entered("a"):
            raise RuntimeError
        return away != home and _here() == home

    assert run_inside(piece)


def test_other_threads_stay_where_they_are() -> None:
    def piece() -> bool:
        netns.create("a")
        entered, seen = threading.Event(), []

        def look() -> None:
            entered.wait(5)
            seen.append(_here())

        thread = threading.Thread(target=look)
        thread.start()
        home = _here()
        with netns.entered("a"):
            entered.set()
            thread.join()
        return seen == [home]

    assert run_inside(piece)


def test_a_socket_lives_where_it_was_made() -> None:
    def piece() -> bytes:
        netns.create("a")
        with netns.entered("a"):
            server = socket.create_server(("127.0.0.1", 8080))
            client = socket.socket()
        elsewhere = socket.socket()
        assert elsewhere.connect_ex(("127.0.0.1", 8080)) != 0
        client.connect(("127.0.0.1", 8080))
        served, _ = server.accept()
        served.sendall(b"lo is up")
        return client.recv(64)

    assert run_inside(piece) == b"lo is up"


def test_loopback_stays_down_where_that_is_asked() -> None:
    def piece() -> bool:
        netns.create("a", loopback=False)
        with netns.entered("a"), socket.socket() as client:
            return client.connect_ex(("127.0.0.1", 8080)) == 101  # ENETUNREACH

    assert run_inside(piece)


def test_entering_leaks_no_descriptor() -> None:
    def piece() -> bool:
        netns.create("a")
        before = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(5):
            with netns.entered("a"):
                pass
        return len(list(Path("/proc/self/fd").iterdir())) == before

    assert run_inside(piece)


def test_settings_are_those_of_the_entered_namespace() -> None:
    def piece() -> tuple[str, str]:
        netns.create("a")
        sysctl.write("net/ipv4/ip_forward", 0)
        with netns.entered("a"):
            sysctl.write("net/ipv4/ip_forward", 1)
            inner = sysctl.read("net/ipv4/ip_forward")
        return inner, sysctl.read("net/ipv4/ip_forward")

    assert run_inside(piece, as_nobody=True) == ("1", "0")


def test_an_unknown_setting_is_refused_by_name() -> None:
    with pytest.raises(KernelError, match="sysctl net/ipv4/nothing: No such file"):
        sysctl.read("net/ipv4/nothing")


def _here() -> int:
    return Path("/proc/thread-self/ns/net").stat().st_ino
