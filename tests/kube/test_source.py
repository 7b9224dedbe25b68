"""The source against a real API server under exactly the rights of deploy/rbac.yaml: what it sees, what it may not."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from follower import Follower
from vallum.lab.kube import agents
from vallum.lab.kube.client import Manifest
from vallum.lab.kube.cluster import KubeCluster
from vallum.model.objects import Object, Pod
from vallum.model.snapshot import Key, key_of
from vallum.sources.decode import decode
from vallum.sources.kube import watch
from vallum.sources.kube.client import ApiError, Client
from vallum.sources.kube.kubeconfig import from_kubeconfig

SPACE = "followed"
WITHIN = 60.0
KINDS = (("v1", "Namespace"), ("v1", "Node"), ("v1", "Pod"), ("networking.k8s.io/v1", "NetworkPolicy"))


def of_rbac(kind: str) -> Manifest:
    return next(each for each in agents.manifests() if each["kind"] == kind and "rbac" in each["apiVersion"])


RIGHTS = [
    (rule["apiGroups"][0], resource, verb)
    for rule in of_rbac("ClusterRole")["rules"]
    for resource in rule["resources"]
    for verb in rule["verbs"]
    if verb in ("list", "watch")
]


def policy(name: str, **spec: Any) -> Manifest:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": SPACE},
        "spec": {"podSelector": {}, **spec},
    }


@pytest.fixture(scope="module")
def rights(kube: KubeCluster) -> Iterator[Path]:
    """A kubeconfig of the account that the manifests of deploy/ speak of."""
    kube.api.apply(agents.manifests())
    kube.api.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}}])
    yield kube.user_kubeconfig("account", agents.ACCOUNT)
    kube.api.delete("v1", "Namespace", SPACE)


@asynccontextmanager
async def watching(kubeconfig: Path, node: str = "", *, streams: bool = True) -> AsyncIterator[Follower]:
    told = Follower()
    async with Client(from_kubeconfig(kubeconfig)) as client:
        task = asyncio.create_task(told.follow(watch(client, node, streams=streams)))
        try:
            yield told
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def world_of(kube: KubeCluster) -> dict[Key, Object]:
    """What the API shows to an administrator, as the reader of folders reads it."""
    found = [decode(kind, body) for version, kind in KINDS for body in kube.api.list(version, kind)]
    return {key_of(thing): thing for thing in found if thing}


async def caught_up(told: Follower, kube: KubeCluster) -> None:
    await told.until(lambda: bool(told.batches) and told.world == world_of(kube), WITHIN)


@pytest.mark.parametrize("streams", [True, False])
def test_the_world_is_what_the_api_shows_and_follows_it(kube: KubeCluster, rights: Path, streams: bool) -> None:
    async def work() -> None:
        async with watching(rights, streams=streams) as told:
            await caught_up(told, kube)
            kube.api.apply([policy("closed")])
            made = kube.api.get("networking.k8s.io/v1", "NetworkPolicy", "closed", SPACE)
            version = made["metadata"]["resourceVersion"]
            await told.until(lambda: told.batches[-1].revision == version, WITHIN)
            assert ("Policy", SPACE, "closed") in told.world
            kube.api.delete("networking.k8s.io/v1", "NetworkPolicy", "closed", SPACE)
            await caught_up(told, kube)
            assert not told.troubles

    asyncio.run(work())


def test_pods_of_the_own_node_have_their_uid(kube: KubeCluster, rights: Path) -> None:
    async def work() -> None:
        async with watching(rights, "node1") as told:
            await told.until(lambda: bool(told.batches), WITHIN)
            uids = {each["metadata"]["name"]: each["metadata"]["uid"] for each in kube.api.list("v1", "Pod")}
            for thing in told.world.values():
                if isinstance(thing, Pod) and thing.id.name in uids:
                    assert thing.uid == (uids[thing.id.name] if thing.node == "node1" else "")

    asyncio.run(work())


@pytest.mark.usefixtures("rights")
@pytest.mark.parametrize(("group", "resource", "verb"), RIGHTS)
def test_each_right_is_needed_and_named_where_it_is_missing(
    kube: KubeCluster, group: str, resource: str, verb: str
) -> None:
    name = f"without-{verb}-{resource}"
    role, binding = deepcopy(of_rbac("ClusterRole")), deepcopy(of_rbac("ClusterRoleBinding"))
    role["metadata"]["name"] = binding["metadata"]["name"] = binding["roleRef"]["name"] = name
    binding["subjects"] = [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name}]
    rules = [
        {**rule, "resources": [one], "verbs": [each for each in rule["verbs"] if (one, each) != (resource, verb)]}
        for rule in role["rules"]
        for one in rule["resources"]
    ]
    kube.api.apply([{**role, "rules": rules}, binding])

    async def work() -> None:
        async with watching(kube.user_kubeconfig(name, name), streams=verb == "watch") as told:
            wanted = f'cannot {verb} resource "{resource}" in API group "{group}"'
            await told.until(lambda: wanted in told.trouble and told.trouble.count("\n") == 0, WITHIN)
            assert not told.batches

    asyncio.run(work())
    for thing in (binding, role):
        kube.api.delete("rbac.authorization.k8s.io/v1", thing["kind"], name)


@pytest.mark.parametrize(
    "path", ["/api/v1/secrets", "/api/v1/configmaps", f"/api/v1/namespaces/{SPACE}/pods/x", "/apis/apps/v1/deployments"]
)
def test_what_is_not_needed_is_refused(kube: KubeCluster, rights: Path, path: str) -> None:
    async def work() -> None:
        async with Client(from_kubeconfig(rights)) as client:
            with pytest.raises(ApiError) as found:
                await client.get(path)
            assert (found.value.code, found.value.reason) == (403, "Forbidden")
            with pytest.raises(ApiError, match="cannot create resource"):
                await client.create(f"/apis/networking.k8s.io/v1/namespaces/{SPACE}/networkpolicies", policy("mine"))

    assert kube
    asyncio.run(work())


def test_a_server_that_is_killed_is_named_and_taken_up_again_when_it_is_back(kube: KubeCluster, rights: Path) -> None:
    server = kube.control["kube-apiserver"]

    async def work() -> None:
        async with watching(rights) as told:
            await caught_up(told, kube)
            server.stop(signal.SIGKILL)
            await told.until(lambda: "connection refused" in told.trouble, WITHIN)
            count = len(told.batches)
            server.start()
            await asyncio.to_thread(server.await_, kube.api.ready, 60)
            assert len(told.batches) >= count
            await told.until(lambda: not told.trouble, WITHIN)
            kube.api.apply([policy("after")])
            await told.until(lambda: ("Policy", SPACE, "after") in told.world, WITHIN)
            kube.api.delete("networking.k8s.io/v1", "NetworkPolicy", "after", SPACE)
            await caught_up(told, kube)

    asyncio.run(work())
