"""The agent is killed at every step of every verb: the next one finds or removes what stands, and nothing is left over.

The agent is a process of its own that kills itself with SIGKILL just after one of its requests to the kernel, which is
as well just before the next. The runtime then does what runtimes do: it deletes what it could not add, and asks again.
"""

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cniruntime import DOORS, FOLDER, Node, make_pod, make_uplink, node_state, pod_links
from inside import fork, run_inside
from vallum.cni.attached import interface_name, read
from vallum.cni.build import shim
from vallum.kernel import netns
from vallum.kernel.netlink import Netlink
from vallum.kernel.rtnetlink import Rtnetlink

pytestmark = pytest.mark.packets

PODS = ("a", "b", "c")
DIED = FOLDER / "died"
MOST_STEPS = 60


class Agent:
    """The service in a process of its own. `step`: the request to the kernel after which it dies, from its start on."""

    def __init__(self, step: int | None = None) -> None:
        DOORS.socket.unlink(missing_ok=True)
        DIED.unlink(missing_ok=True)
        read_end, write_end = os.pipe()
        self.pid = fork(lambda: asyncio.run(_live(write_end, step)))
        os.close(write_end)
        with os.fdopen(read_end, "rb") as pipe:
            assert pipe.read() == b"ready"

    def end(self) -> bool:
        """Kill it if it lives. Reports whether it died by itself."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        return DIED.exists()


async def _live(ready: int, step: int | None) -> None:
    node = Node()
    await node.start()
    if step is not None:
        _die_after(step)
    os.write(ready, b"ready")
    os.close(ready)
    await asyncio.Event().wait()


def _die_after(step: int) -> None:
    real, count = Netlink._send, [0]

    def send(self: Netlink, *args: Any) -> None:
        count[0] += 1
        real(self, *args)  # the kernel has done it when this returns
        if count[0] == step:
            DIED.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    Netlink._send = send  # type: ignore[method-assign] - in a process that is about to die


def call(command: str, pod: str, **more: Any) -> tuple[int, Any]:
    """As the runtime calls, from outside of any event loop."""
    config = {"cniVersion": "1.1.0", "socket": str(DOORS.socket), "queueDir": str(DOORS.queue)}
    environment = {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": pod,
        "CNI_IFNAME": "eth0",
        "CNI_NETNS": f"/run/netns/{pod}",
        "CNI_ARGS": f"K8S_POD_NAMESPACE=shop;K8S_POD_NAME={pod}",
    }
    done = subprocess.run(
        [shim()],
        env=environment,
        input=json.dumps(config | more).encode(),
        capture_output=True,
        timeout=30,
        check=False,
    )
    return done.returncode, json.loads(done.stdout) if done.stdout else None


def on_machine(piece: Callable[[], Any]) -> Any:
    def body() -> Any:
        make_uplink()
        for pod in PODS:
            make_pod(pod)
        return piece()

    shim()
    return run_inside(body)


def standing() -> dict[str, Any]:
    """What the kernel holds of ours: the complete by pod, and whatever else there is."""
    with Rtnetlink() as host:
        found = read(host)
    links, routes = node_state()
    others = [each for each in (*links, *(route.split(" ")[1] for route in routes)) if each.startswith("vp")]
    known = {each.interface for each in found.complete}
    return {each.pod.name: each.addresses for each in found.complete} | (
        {"left over": sorted(set(others) - known)} if set(others) - known else {}
    )


def test_an_add_that_is_killed_at_any_step_leaves_nothing() -> None:
    def piece() -> tuple[int, list[Any]]:
        found = []
        for step in range(1, MOST_STEPS):
            agent = Agent(step)
            status, printed = call("ADD", "a")
            if not agent.end():
                return step, found
            second = Agent()
            complete = standing()
            call("DEL", "a")
            found.append((status, printed["code"], len(complete), standing(), list(pod_links("a"))))
            second.end()
        return 0, found

    steps, found = on_machine(piece)
    assert steps > 10
    assert {each[:2] for each in found} == {(1, 11)}
    assert [each[3:] for each in found] == [({}, ["lo"])] * len(found)
    assert [each[2] for each in found[:-1]] == [0] * (len(found) - 1), "only what was marked as complete may stand"


def test_a_del_that_is_killed_at_any_step_is_done_by_the_next_agent() -> None:
    def piece() -> tuple[int, list[Any]]:
        found = []
        for step in range(1, MOST_STEPS):
            first = Agent()
            assert call("ADD", "a")[0] == 0
            first.end()
            agent = Agent(step)
            status, _ = call("DEL", "a")
            if not agent.end():
                return step, found
            second = Agent()
            found.append((status, standing(), list(pod_links("a"))))
            second.end()
        return 0, found

    steps, found = on_machine(piece)
    assert steps > 2
    assert found == [(0, {}, ["lo"])] * len(found)


ACTS = st.lists(
    st.tuples(
        st.sampled_from(["ADD", "ADD", "ADD", "DEL", "GC", "restart", "boot"]),
        st.sampled_from(PODS),
        st.none() | st.integers(1, 20),
    ),
    min_size=3,
    max_size=6,
)


class History:
    """Goes through acts, each by an agent that may die in it, and compares the kernel with what was promised."""

    def __init__(self) -> None:
        self.promised: set[str] = set()

    def do(self, act: str, pod: str, step: int | None) -> None:
        """One act, and what a runtime does when it goes wrong."""
        agent = Agent(step)
        match act:
            case "ADD" if pod not in self.promised:
                status, _ = call("ADD", pod)
                if status == 0:
                    self.promised.add(pod)
                else:
                    call("DEL", pod)
            case "DEL":
                assert call("DEL", pod)[0] == 0
                self.promised.discard(pod)
            case "GC":
                self.collect(pod)
            case "boot":
                netns.delete(pod)
                self.promised.discard(pod)
                make_pod(pod)
        agent.end()

    def collect(self, pod: str) -> None:
        """Everything but this pod is gone, says the runtime; it says so again when nobody heard."""
        self.promised &= {pod}
        valid = {"cni.dev/valid-attachments": [{"containerID": each, "ifname": "eth0"} for each in self.promised]}
        if call("GC", pod, **valid)[0]:
            again = Agent()
            assert call("GC", pod, **valid) == (0, None)
            again.end()

    def check(self) -> dict[str, Any]:
        """What stands once an agent has looked, and every link that came from a namespace that is gone has ended."""
        agent = Agent()
        deadline = time.monotonic() + 10
        while set(found := standing()) != self.promised and time.monotonic() < deadline:
            time.sleep(0.002)
        agent.end()
        return found


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(ACTS)
def test_after_any_history_of_calls_and_deaths_the_kernel_holds_what_was_promised(acts: list[Any]) -> None:
    def piece() -> tuple[set[str], dict[str, Any], dict[str, bool]]:
        history = History()
        for act, pod, step in acts:
            history.do(act, pod, step)
        found = history.check()
        return history.promised, found, {pod: pod_links(pod)["eth0"].up for pod in history.promised}

    promised, found, up = on_machine(piece)
    assert set(found) == promised
    assert all(up.values())
    addresses = [address for each in found.values() for address in each]
    assert len(addresses) == len(set(addresses)) == 2 * len(promised)
    assert all(interface_name(pod, "eth0") for pod in promised)
