"""The agent's side needs CAP_NET_ADMIN and no right to enter namespaces: the shim, which root runs, hands them over."""

import asyncio
import ctypes
import os
import signal
import struct
from typing import Any

import pytest

from cniruntime import DOORS, FOLDER, RANGES, Node, make_pod, make_uplink, node_state
from inside import fork, run_inside
from vallum.cni.build import shim
from vallum.cni.service import Service
from vallum.cni.verbs import Verbs
from vallum.ipam.ranges import NodeRanges
from vallum.kernel import libc, netns
from vallum.kernel.libc import RefusedError
from vallum.model.attachment import PodAttachment

pytestmark = pytest.mark.packets

NET_ADMIN = 12
_CAPSET_VERSION_3 = 0x20080522


class Open:
    """A guard that has nothing to do."""

    async def protect(self, _: PodAttachment) -> None:
        """At once."""

    async def release(self, _: PodAttachment) -> None:
        """At once."""


def keep_only(*capabilities: int) -> None:
    """Give up every other capability of this process, for good where it starts no program."""
    mask = sum(1 << each for each in capabilities)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    data = struct.pack("=6I", low, low, 0, high, high, 0)
    if ctypes.CDLL(None).capset(struct.pack("=Ii", _CAPSET_VERSION_3, 0), data):
        raise OSError("capset refused")


def serve_with(ready: int, *capabilities: int) -> None:
    """An agent with these rights, for ever. Tells whether it could still enter a pod's namespace."""

    async def live() -> None:
        space = netns.open_namespace("web")
        keep_only(*capabilities)
        service = Service(DOORS, Verbs(NodeRanges(RANGES, FOLDER / "ranges.json"), Open(), lambda: None))
        await service.open()
        try:
            libc.setns(space, libc.NEWNET)
        except RefusedError:
            os.write(ready, b"locked in")
        os.close(ready)
        await service.serve()

    asyncio.run(live())


def attach(*capabilities: int) -> list[Any]:
    """What ADD, CHECK and DEL answer where the agent has these rights only."""

    def piece() -> list[Any]:
        make_uplink()
        make_pod()
        read_end, write_end = os.pipe()
        agent = fork(lambda: serve_with(write_end, *capabilities))
        os.close(write_end)
        with os.fdopen(read_end, "rb") as pipe:
            words = pipe.read().decode()

        async def calls() -> list[Any]:
            node = Node()
            add = await node.call("ADD")
            check = await node.call("CHECK", prevResult=add.text)
            delete = await node.call("DEL", prevResult=add.text)
            return [words, add.text, check.status, delete.status, node_state()[0]]

        found = asyncio.run(calls())
        os.kill(agent, signal.SIGKILL)
        os.waitpid(agent, 0)
        return found

    shim()
    return run_inside(piece)


def test_net_admin_is_all_that_a_pod_needs_of_the_agent() -> None:
    words, add, check, delete, links = attach(NET_ADMIN)
    assert words == "locked in"
    assert [each["address"] for each in add["ips"]] == ["10.244.1.2/32", "fd10:244:1::2/128"]
    assert (check, delete, links) == (0, 0, ("far", "lo", "uplink"))


def test_without_net_admin_the_kernels_refusal_is_told_and_nothing_is_left() -> None:
    _, add, _, _, links = attach()
    assert (add["code"], add["msg"].rpartition(": ")[2]) == (100, "Operation not permitted")
    assert links == ("far", "lo", "uplink")
