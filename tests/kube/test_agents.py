"""Agents in trouble: no API, credentials that ran out, no memory, a full disk, a clock that jumps, killed amid ADDs.

Throughout, what the kernel holds stays: packets are sent all the while and counted. Then the agent says what is wrong,
and obeys again what changed as soon as it can.
"""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from kube import steps
from kube.steps import flow, hold, pods_with, policy, reached, targets
from traffic import Flow, Traffic
from vallum.kernel import libc
from vallum.lab.kube import agents, layout, pods
from vallum.lab.kube.certs import Authority
from vallum.lab.kube.client import Manifest
from vallum.lab.kube.cluster import KubeCluster
from vallum.lab.kube.component import Component, until

SPACE = "trouble"
SERVES = ("TCP/80", "UDP/80")
BOTH = ("TCP", "UDP")
LEAST = 500
SCARCE = 24 << 20
"""Bytes of memory in which Python starts and an agent does not."""
DAY = 86400
NAMED = "node2"
"""The node whose agent gets into trouble."""

Crowd = dict[str, Manifest]


@pytest.fixture(scope="module")
def crowd(kube: KubeCluster) -> Iterator[Crowd]:
    """A server on the node in trouble, friends and strangers on both."""
    with steps.namespace(kube, SPACE):
        hold(kube, policy("guard", SPACE, {"role": "server"}, [{"from": [pods_with(role="friend")]}]))
        made = [pods.pod("server", SERVES, space=SPACE, node=NAMED, labels={"role": "server"})]
        made += [
            pods.pod(f"{role}{n}", SERVES, space=SPACE, node=f"node{n}", labels={"role": role})
            for role in ("friend", "stranger")
            for n in (1, 2)
        ]
        kube.api.apply(made)
        yield {each["metadata"]["name"]: each for each in kube.wait_ready(made)}


def flows(crowd: Crowd) -> list[Flow]:
    server = crowd["server"]
    return [
        flow("udp", "udp", (crowd["friend1"], server), 5000),
        flow("tcp6", "tcp6", (crowd["friend2"], server), 5001),
        flow("udp denied", "udp", (crowd["stranger1"], server), 5002),
        flow("syn6 denied", "syn6", (crowd["stranger2"], server), 5003),
    ]


@contextmanager
def nothing_lost(crowd: Crowd) -> Iterator[None]:
    """Packets all through the block; afterwards none was lost and none leaked."""
    with Traffic(flows(crowd)) as traffic:
        yield
        assert steps.wrong(traffic.stop(), LEAST) == []


def trouble(kube: KubeCluster, words: str) -> None:
    """Wait until the agent says that its source is at fault in such words, and since when."""

    def told() -> bool:
        status = steps.status(kube, NAMED)
        return words in (status.get("source") or "") and bool(status["source_since"])

    until(told, steps.PATIENCE, lambda: f"not {words!r}: {steps.status(kube, NAMED)}")


def obeyed(kube: KubeCluster, crowd: Crowd) -> None:
    """A change is asked for and acts: friends may no longer, and then may again."""
    wanted = targets(steps.addresses(crowd["server"])[0], 80, *BOTH)
    hold(kube, policy("guard", SPACE, {"role": "server"}, []))
    assert reached(kube, crowd["friend1"], wanted) == [False, False]
    hold(kube, policy("guard", SPACE, {"role": "server"}, [{"from": [pods_with(role="friend")]}]))
    assert reached(kube, crowd["friend1"], wanted) == [True, True]
    assert reached(kube, crowd["stranger1"], wanted) == [False, False]


@pytest.mark.stance(20)
def test_without_an_api_server_enforcement_stays_and_what_changed_is_obeyed_when_it_is_back(
    kube: KubeCluster, crowd: Crowd
) -> None:
    with nothing_lost(crowd):
        with api_away(kube, signal.SIGKILL):
            trouble(kube, str(layout.CONTROL[0]))
            assert steps.health(kube, NAMED, "/readyz") == 200  # the kernel holds what was last known
        steps.healthy(kube, NAMED)
    obeyed(kube, crowd)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["dead", "silent"])
@pytest.mark.stance(20)
def test_an_agent_that_starts_without_an_api_server_leaves_enforcement_as_it_is(
    kube: KubeCluster, crowd: Crowd, number: int
) -> None:
    with nothing_lost(crowd):
        with api_away(kube, number):
            kube.agents[NAMED].kill()
            kube.agents[NAMED].start()
            trouble(kube, str(layout.CONTROL[0]))
            assert steps.health(kube, NAMED, "/readyz") == 503
        steps.healthy(kube, NAMED)
    obeyed(kube, crowd)


@contextmanager
def api_away(kube: KubeCluster, number: int) -> Iterator[None]:
    """The API server is dead, or lives and says nothing, until the block ends."""
    server = kube.control["kube-apiserver"]
    if number == signal.SIGSTOP:
        os.kill(server.pid, number)
    else:
        server.kill()
    try:
        yield
    finally:
        if number == signal.SIGSTOP:
            os.kill(server.pid, signal.SIGCONT)
        server.start()
        server.await_(kube.api.ready, steps.PATIENCE)


def test_a_client_certificate_that_has_expired_is_named_and_its_renewal_is_taken_up(
    kube: KubeCluster, crowd: Crowd, tmp_path: Path
) -> None:
    good = kube.authority.issue("renewed", agents.ACCOUNT)
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    config = kube.authority.kubeconfig(tmp_path / "kubeconfig", layout.server(), good)
    content = yaml.safe_load(config.read_text())
    content["users"][0]["user"] = {"client-certificate": str(certificate), "client-key": str(key)}
    config.write_text(yaml.safe_dump(content))
    put(good.certificate, certificate)
    put(good.key, key)
    with nothing_lost(crowd), steps.instead(kube, NAMED, with_flag(kube, "--kubeconfig", str(config))):
        steps.healthy(kube, NAMED)
        put(expired(good.key, kube.authority, tmp_path), certificate)
        restart_api(kube)
        trouble(kube, f"our client certificate {certificate} is expired since")
        put(good.certificate, certificate)
        steps.healthy(kube, NAMED)
        hold(kube, policy("more", SPACE, {"role": "none"}, []))


def expired(key: Path, authority: Authority, folder: Path) -> Path:
    """A certificate for this key that ended yesterday."""
    asked, made = folder / "old.csr", folder / "old.crt"
    openssl("req", "-new", "-key", str(key), "-subj", f"/CN={agents.ACCOUNT}", "-out", str(asked))
    signer = ("-CA", str(authority.own.certificate), "-CAkey", str(authority.own.key), "-CAcreateserial")
    openssl("x509", "-req", "-in", str(asked), *signer, "-days", "-1", "-out", str(made))
    return made


def openssl(*words: str) -> None:
    done = subprocess.run(["openssl", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def put(source: Path, target: Path) -> None:
    """Replace a file as a whole, as whoever renews certificates does."""
    aside = target.with_suffix(".new")
    aside.write_bytes(source.read_bytes())
    aside.replace(target)


def with_flag(kube: KubeCluster, name: str, value: str) -> Component:
    """The usual agent with one flag said otherwise: the last one counts."""
    usual = kube.agents[NAMED]
    return replace(usual, words=(*usual.words, name, value), _process=None)


def restart_api(kube: KubeCluster) -> None:
    """Whoever had a connection makes a new one."""
    server = kube.control["kube-apiserver"]
    server.kill()
    server.start()
    server.await_(kube.api.ready, steps.PATIENCE)


def test_a_token_that_is_no_longer_valid_is_named_and_its_successor_is_taken_up(
    kube: KubeCluster, crowd: Crowd, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    config = kube.authority.kubeconfig(
        tmp_path / "kubeconfig", layout.server(), kube.authority.issue("token", agents.ACCOUNT)
    )
    content = yaml.safe_load(config.read_text())
    content["users"][0]["user"] = {"tokenFile": str(token)}
    config.write_text(yaml.safe_dump(content))
    account = next(each for each in agents.manifests() if each["kind"] == "ServiceAccount")
    token.write_text(minted(kube))
    with nothing_lost(crowd), steps.instead(kube, NAMED, with_flag(kube, "--kubeconfig", str(config))):
        steps.healthy(kube, NAMED)
        kube.api.delete("v1", "ServiceAccount", "vallum", "kube-system")
        kube.api.apply([account])  # the same name and another uid: tokens of the first are void
        restart_api(kube)
        trouble(kube, "token")
        token.write_text(minted(kube))
        steps.healthy(kube, NAMED)
        hold(kube, policy("more", SPACE, {"role": "none"}, []))


def minted(kube: KubeCluster) -> str:
    """A token of the agents' service account."""
    path = "/api/v1/namespaces/kube-system/serviceaccounts/vallum/token"
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
    return str(kube.api.request("POST", path, asked)["status"]["token"])


def test_an_agent_that_runs_out_of_memory_again_and_again_opens_nothing(kube: KubeCluster, crowd: Crowd) -> None:
    group = memory_group(kube)
    joining = ("sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh")
    usual = kube.agents[NAMED]
    starved = replace(usual, words=(*joining, *usual.words), _process=None)
    with nothing_lost(crowd), steps.instead(kube, NAMED, starved):
        for number in range(1, 4):
            until(lambda: not starved.running, steps.PATIENCE, lambda: "it lives in too little memory")
            assert kills(group) == number, starved.said()
            starved.stop()
            starved.start()
    obeyed(kube, crowd)
    group.rmdir()


def memory_group(kube: KubeCluster) -> Path:
    """A control group below the cluster's in which an agent does not fit."""
    hierarchies = {Path("/sys/fs/cgroup/memory"): "memory.limit_in_bytes", Path("/sys/fs/cgroup"): "memory.max"}
    for hierarchy, limit in hierarchies.items():
        group = hierarchy / kube.groups.name / "starved"
        if group.parent.is_dir():
            group.mkdir()
            if (group / limit).exists():
                (group / limit).write_text(str(SCARCE))
                return group
            group.rmdir()
    pytest.skip("no memory controller here")


def kills(group: Path) -> int:
    """How often the kernel has killed somebody of the group for its memory."""
    name = next(each for each in ("memory.oom_control", "memory.events") if (group / each).exists())
    return int(dict(line.split() for line in (group / name).read_text().splitlines())["oom_kill"])


def test_a_full_disk_keeps_no_pod_from_starting(kube: KubeCluster, crowd: Crowd, tmp_path: Path) -> None:
    state = tmp_path / "full"
    state.mkdir()
    libc.mount("tmpfs", str(state), kind="tmpfs", options="size=64k,mode=0700")
    with suppress(OSError), (state / "filler").open("wb", buffering=0) as filler:
        while filler.write(bytes(4096)):
            pass
    try:
        with nothing_lost(crowd), steps.instead(kube, NAMED, with_flag(kube, "--state-dir", str(state))):
            steps.healthy(kube, NAMED)
            started(kube, crowd, "full")
    finally:
        libc.unmount(str(state))


def started(kube: KubeCluster, crowd: Crowd, name: str, count: int = 3) -> None:
    """Pods start on the node in trouble, have addresses of their own, and are protected."""
    made = [pods.pod(f"{name}{n}", SERVES, space=SPACE, node=NAMED, labels={"role": "server"}) for n in range(count)]
    kube.api.apply(made)
    ready = kube.wait_ready(made)
    found = [one for each in ready for one in steps.addresses(each)]
    assert len(set(found)) == 2 * count
    wanted = [target for one in found for target in targets(one, 80, *BOTH)]
    steps.eventually_reached(kube, crowd["friend1"], wanted)
    assert not any(reached(kube, crowd["stranger1"], wanted))
    for each in made:
        kube.api.delete("v1", "Pod", each["metadata"]["name"], SPACE, grace=0)
    kube.wait_gone(made)


_CLOCK = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static long jump(void) {
    char text[32] = {0};
    int file = open(getenv("CLOCK_JUMP"), O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    long got = read(file, text, sizeof text - 1);
    close(file);
    return got > 0 ? atol(text) : 0;
}
int clock_gettime(clockid_t clock, struct timespec *now) {
    int code = syscall(SYS_clock_gettime, clock, now);
    if (code == 0 && clock == CLOCK_REALTIME) now->tv_sec += jump();
    return code;
}
int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    (void)zone;
    struct timespec exact;
    int code = clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return code;
}
time_t time(time_t *into) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (into) *into = exact.tv_sec;
    return exact.tv_sec;
}
"""


def test_an_agent_whose_clock_jumps_works_on(kube: KubeCluster, crowd: Crowd, tmp_path: Path) -> None:
    library, clock = tmp_path / "clock.so", tmp_path / "jump"
    compiled = subprocess.run(
        ["cc", "-shared", "-fPIC", "-O1", "-o", str(library), "-xc", "-"], input=_CLOCK.encode(), check=False
    )
    assert compiled.returncode == 0
    clock.write_text("0")
    usual = kube.agents[NAMED]
    environment = {**usual.environment, "LD_PRELOAD": str(library), "CLOCK_JUMP": str(clock)}
    with nothing_lost(crowd), steps.instead(kube, NAMED, replace(usual, environment=environment, _process=None)):
        steps.healthy(kube, NAMED)
        first = steps.status(kube, NAMED)["started"]
        for number, days in enumerate((100, -100, 0)):
            clock.write_text(str(days * DAY))
            started(kube, crowd, f"jump{number}", 1)
            hold(kube, policy(f"jump{number}", SPACE, {"role": "none"}, []))
            assert steps.status(kube, NAMED)["kernel"] is None
        assert steps.status(kube, NAMED)["started"] == first  # no restart in between
    clock.write_text(str(100 * DAY))
    with steps.instead(kube, NAMED, replace(usual, environment=environment, _process=None)):
        steps.healthy(kube, NAMED)
        assert steps.status(kube, NAMED)["started"][:10] > first[:10]  # it did see another time
        started(kube, crowd, "later", 1)


def test_an_agent_that_is_killed_amid_adds_leaves_every_pod_with_one_network(kube: KubeCluster, crowd: Crowd) -> None:
    made = [pods.pod(f"amid{n}", SERVES, space=SPACE, node=NAMED, labels={"role": "server"}) for n in range(20)]
    agent = kube.agents[NAMED]
    with nothing_lost(crowd):
        kube.api.apply(made)
        for wired in (1, 4, 8):
            until(lambda wired=wired: links(kube) > 3 + wired, steps.PATIENCE, lambda: "no pod gets a link")
            agent.kill()
            agent.start()
        ready = kube.wait_ready(made)
    found = [one for each in ready for one in steps.addresses(each)]
    assert len(set(found)) == 2 * len(made)
    wanted = [target for one in found for target in targets(one, 80, *BOTH)]
    steps.eventually_reached(kube, crowd["friend1"], wanted)
    assert not any(reached(kube, crowd["stranger1"], wanted))
    before = links(kube)
    for each in made:
        kube.api.delete("v1", "Pod", each["metadata"]["name"], SPACE, grace=0)
    kube.wait_gone(made)
    until(lambda: links(kube) == before - len(made), steps.PATIENCE, lambda: f"{links(kube)} links stay of {before}")


def links(kube: KubeCluster) -> int:
    """Pods' links on the node in trouble."""
    return kube.run_on(NAMED, ["ip", "-brief", "link", "show", "type", "veth"]).out.count("\nvp") + 1
