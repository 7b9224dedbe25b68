"""What each verb does: ADD, DEL, CHECK, GC and STATUS, one at a time for each attachment.

ADD wires with the pod's own end down, waits until the pod is protected, and only then lets it loose; whatever goes
wrong on the way is undone. All work on the kernel is done by one thread, call by call, so that what a call has begun
is over before the next one looks; but links are taken down by another, since the kernel takes tens of milliseconds for
one and new pods would wait behind it. Where calls come from is `service`'s affair.
"""

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Protocol, TypeVar
from weakref import WeakValueDictionary

from vallum.cni import attached, wiring
from vallum.cni.config import NOBODY, Order, Previous, read, version_of
from vallum.cni.result import CniError, Code, Made, failure, passed_on, result
from vallum.cni.wire import REFUSED, Answer, Call
from vallum.cni.wiring import Plan
from vallum.ipam import Allocator, ExhaustedError, Request
from vallum.kernel.rtnetlink import Rtnetlink
from vallum.model.address import unpack
from vallum.model.attachment import PodAttachment
from vallum.model.errors import InputError, KernelError

_log = logging.getLogger("vallum.cni")
_CARRIER_SECONDS, _CARRIER_PAUSE = 2.0, 0.0005
_NODE = "the node itself"
_LEAST_MTU_6 = 1280

Result = TypeVar("Result")


class Guard(Protocol):
    """Who protects pods. Both are called once for an attachment and may be called again for it later."""

    async def protect(self, attachment: PodAttachment) -> None:
        """Returns when the pod's rules are in the kernel and read back.

        Raises CniError with TRY_LATER, naming what is late, when that takes too long.
        """
        ...

    async def release(self, attachment: PodAttachment) -> None:
        """The attachment is gone, or never came to be: a pod's container and ifname tell which.

        Its pod, interface and addresses are empty where the kernel does not know them any more.
        """
        ...


class Verbs:
    """Answers calls. Works in the network namespace of the thread that makes it.

    Args:
        allocator: used by the worker thread only.
        guard: see Guard.
        ready: why no pod can be attached now, None when it can.
        mtu: what the way to other nodes leaves for packets of pods, in bytes; None: as much as the node's link.
    """

    def __init__(
        self,
        allocator: Allocator,
        guard: Guard,
        ready: Callable[[], str | None],
        mtu: Callable[[], int | None] = lambda: None,
    ) -> None:
        self._host = Rtnetlink()
        self._allocator = allocator
        self._guard = guard
        self._ready = ready
        self._mtu = mtu
        self._worker = ThreadPoolExecutor(1, "cni")
        self._broom = Rtnetlink()
        self._sweeper = ThreadPoolExecutor(1, "cni-del")
        self._leaving: set[asyncio.Future[None]] = set()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def start(self) -> tuple[PodAttachment, ...]:
        """Remove what an ADD of an earlier life left half made; the attachments that stand. Raises KernelError."""
        return await self._do(self._sweep)

    async def look(self) -> None:
        """Read back what is in use on this node and tell the allocator. Raises KernelError."""
        await self._do(self._adopt)

    async def beside(self, work: Callable[..., Result], *args: object) -> Result:
        """Have the worker, to which the allocator belongs, do something between two calls."""
        return await self._do(work, *args)

    async def answer(self, call: Call) -> Answer:
        """Never raises for what a runtime, a user or the kernel did wrong: that is the answer."""
        try:
            order = read(call.environment, call.stdin)
            return Answer(0, await self._obey(order, call))
        except CniError as found:
            error = found
        except ExhaustedError as found:
            error = CniError(Code.TRY_LATER, str(found))
        except InputError as found:
            error = CniError(Code.CONFIG, str(found))
        except KernelError as found:
            error = CniError(Code.KERNEL, str(found))
        return Answer(1, failure(error, version_of(call.stdin)), again=error.code == Code.KERNEL)

    async def discard(self, call: Call) -> None:
        """Close what came with a call, once the worker has done with it."""
        await self._do(call.close)

    def close(self) -> None:
        """After the last answer."""
        self._sweeper.shutdown()
        self._worker.shutdown()
        self._broom.close()
        self._host.close()

    async def _obey(self, order: Order, call: Call) -> bytes:
        match order.command:
            case "STATUS":
                if (reason := self._ready()) is not None:
                    raise CniError(Code.UNAVAILABLE, reason)
                return b""
            case "GC":
                return await self._collect(order)
        async with self._alone(attached.interface_name(order.container, order.ifname)):
            match order.command:
                case "ADD" if order.previous is not None:
                    return await self._join(order, order.previous, call)
                case "ADD":
                    return await self._add(order, call)
                case "CHECK":
                    return await self._check(order, call)
                case _:
                    return await self._delete(order)

    async def _add(self, order: Order, call: Call) -> bytes:
        async with self._inside(order, call) as inside, AsyncExitStack() as undo:
            await self._do(wiring.refuse_existing, self._host, inside, order.container, order.ifname)
            undo.push_async_callback(self._remove, attached.interface_name(order.container, order.ifname))
            plan = await self._laid(order, call.namespace, inside)
            attachment = _attachment(order, plan)
            undo.push_async_callback(self._released, attachment)
            await self._guard.protect(attachment)
            await self._do(wiring.let_loose, inside, plan)
            await self._until_it_runs(plan)
            await self._do(wiring.mark, self._host, attachment)
            undo.pop_all()
        made = Made(plan.interface, plan.host_mac, plan.ifname, plan.mac, plan.mtu, order.sandbox, plan.addresses)
        return result(made, order.version, order.dns)

    async def _laid(self, order: Order, namespace: int, inside: Rtnetlink) -> Plan:
        """The link, as soon as there is an address for it: those of pods that are just leaving are waited for."""
        try:
            return await self._do(self._lay, order, namespace, inside)
        except ExhaustedError:
            if not self._leaving:
                raise
            await asyncio.wait(set(self._leaving))
            return await self._do(self._lay, order, namespace, inside)

    async def _join(self, order: Order, previous: Previous, call: Call) -> bytes:
        """As a chained plugin: the link is another's, the protection ours."""
        async with self._inside(order, call) as inside, AsyncExitStack() as undo:
            attachment = _chained(order, previous, await self._do(wiring.behind, self._host, inside, order.ifname))
            undo.push_async_callback(self._released, attachment)
            await self._guard.protect(attachment)
            undo.pop_all()
        return passed_on(previous.raw, order.version)

    async def _delete(self, order: Order) -> bytes:
        gone = await self._do(self._to_take_down, order)
        if gone is not None:
            await self._remove(attached.interface_name(order.container, order.ifname))
            await self._released(gone)
        return b""

    async def _check(self, order: Order, call: Call) -> bytes:
        assert order.previous is not None
        plan = _expected(order, order.previous)
        ours = any(each.name == plan.interface for each in order.previous.interfaces)
        async with self._inside(order, call) as inside:
            if ours:
                found = await self._do(lambda: list(wiring.differences(self._host, inside, plan)))
            else:
                found = await self._do(lambda: list(wiring.missing_addresses(inside, plan)))
        if found:
            raise CniError(Code.DIFFERS, found[0], "\n".join(found[1:]))
        return b""

    async def _collect(self, order: Order) -> bytes:
        """Release what is not listed; go on after errors and tell of all of them."""
        stay = {attached.interface_name(container, ifname) for container, ifname in order.valid}
        standing = await self._do(attached.read, self._host)
        unfinished = [PodAttachment(NOBODY, "", "", "", name, ()) for name in standing.half_made]
        errors = []
        for each in (*standing.complete, *unfinished):
            if each.interface in stay or each.interface in self._locks:
                continue
            async with self._alone(each.interface):
                try:
                    await self._remove(each.interface)
                    await self._released(each)
                except KernelError as error:
                    errors.append(str(error))
        await self._do(self._adopt)
        if errors:
            problem = f"{len(errors)} of the attachments that are gone cannot be released; the first: {errors[0]}"
            raise CniError(Code.KERNEL, problem, "\n".join(errors[1:]))
        return b""

    async def _released(self, attachment: PodAttachment) -> None:
        """A guard that cannot let go now does so when it next looks at the node; the pod is gone all the same."""
        try:
            await self._guard.release(attachment)
        except (CniError, KernelError) as error:
            _log.warning("release of %s: %s", attachment.pod, error)

    async def _until_it_runs(self, plan: Plan) -> None:
        deadline = asyncio.get_running_loop().time() + _CARRIER_SECONDS
        while not await self._do(wiring.runs, self._host, plan):
            if asyncio.get_running_loop().time() > deadline:
                raise KernelError(f"link {plan.interface} has no carrier after {_CARRIER_SECONDS:.0f} s")
            await asyncio.sleep(_CARRIER_PAUSE)

    @asynccontextmanager
    async def _alone(self, interface: str) -> AsyncIterator[None]:
        lock = self._locks.setdefault(interface, asyncio.Lock())
        async with lock:
            yield

    @asynccontextmanager
    async def _inside(self, order: Order, call: Call) -> AsyncIterator[Rtnetlink]:
        """A netlink socket in the pod's namespace. Raises CniError where the shim could not get in."""
        if call.netlink < 0:
            why = os.strerror(int(call.environment.get(REFUSED, "0") or 0))
            raise CniError(Code.CONTAINER, f"CNI_NETNS {order.sandbox}: {why}; it must be a network namespace")
        inside = Rtnetlink(socket.socket(fileno=os.dup(call.netlink)))
        try:
            yield inside
        finally:
            await self._do(inside.close)

    async def _remove(self, interface: str) -> None:
        """The link, and then its addresses may be given again. What was begun is ended, whoever gives up waiting."""
        leaving = asyncio.ensure_future(self._take_away(interface))
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)
        await asyncio.shield(leaving)

    async def _take_away(self, interface: str) -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._sweeper, wiring.clear, self._broom, interface)
        await self._do(self._allocator.free, interface)

    async def _do(self, work: Callable[..., Result], *args: object) -> Result:
        """Have the worker do it. What it has begun it ends, though the caller may be cancelled."""
        return await asyncio.get_running_loop().run_in_executor(self._worker, partial(work, *args))

    # In the worker thread

    def _lay(self, order: Order, namespace: int, inside: Rtnetlink) -> Plan:
        name = attached.interface_name(order.container, order.ifname)
        host_mac, mac = attached.macs(name)
        mtu = order.mtu or self._mtu() or wiring.uplink_mtu(self._host)
        request = Request(name, order.pod, order.wanted)
        try:
            lease = self._allocator.allocate(request)
        except ExhaustedError:
            self._adopt()  # links that went with their namespaces, and no DEL for them yet
            lease = self._allocator.allocate(request)
        if mtu < _LEAST_MTU_6 and any(address.version == 6 for address in lease.addresses):
            raise CniError(Code.CONFIG, f"mtu {mtu} in the configuration; IPv6 needs {_LEAST_MTU_6} at least")
        plan = Plan(name, host_mac, order.ifname, order.mac or mac, mtu, lease.addresses)
        wiring.lay(self._host, inside, namespace, plan)
        return plan

    def _to_take_down(self, order: Order) -> PodAttachment | None:
        """What is to go, though it may have gone before; None where another attachment has the same hash."""
        interface = attached.interface_name(order.container, order.ifname)
        found = attached.find(self._host, order.container, order.ifname)
        if found is None and wiring.find_link(self._host, interface) is not None:
            return None
        return found or _chained(order, order.previous, "")

    def _sweep(self) -> tuple[PodAttachment, ...]:
        standing = attached.read(self._host)
        for interface in standing.half_made:
            _log.info("removing %s, which an ADD of an earlier life did not finish", interface)
            wiring.clear(self._host, interface)
        self._adopt()
        return standing.complete

    def _adopt(self) -> None:
        """In use is what the node has a host route to, whoever made it, and the node's own addresses."""
        held = {_NODE: tuple(unpack(each) for each in self._host.local_addresses())}
        for packed, device in self._host.host_routes().items():
            held[device] = (*held.get(device, ()), unpack(packed))
        self._allocator.adopt(held)


def _attachment(order: Order, plan: Plan) -> PodAttachment:
    return PodAttachment(order.pod, order.uid, order.container, order.ifname, plan.interface, plan.addresses)


def _chained(order: Order, previous: Previous | None, interface: str) -> PodAttachment:
    addresses = () if previous is None else _expected(order, previous).addresses
    return PodAttachment(order.pod, order.uid, order.container, order.ifname, interface, addresses)


def _expected(order: Order, previous: Previous) -> Plan:
    """What a result says of this interface of the pod; addresses that name no interface are taken for it."""
    name = attached.interface_name(order.container, order.ifname)
    mine = {at: end for at, end in enumerate(previous.interfaces) if end.name == order.ifname and end.sandbox}
    addresses = tuple(address for address, index in previous.addresses if index is None or index in mine)
    end = next(iter(mine.values()), None)
    mac, mtu = (end.mac, end.mtu) if end else ("", 0)
    return Plan(name, attached.macs(name)[0], order.ifname, mac, mtu, addresses)
