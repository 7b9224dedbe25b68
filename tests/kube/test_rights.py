"""Agents run with CAP_NET_ADMIN and the verbs of deploy/rbac.yaml; each of them is needed, and no other is.

That each followed kind needs its `list` and `watch` is shown in test_source.py; here stands what an agent does besides.
Every other test in this folder runs under the same rights, since that is how the cluster starts its agents.
"""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from kube import steps
from vallum.lab.kube import agents, pods
from vallum.lab.kube.client import Manifest
from vallum.lab.kube.cluster import KubeCluster
from vallum.lab.kube.component import Component, until

NAMED = "node2"
CAP_NET_ADMIN = 12
DEPLOY = Path(agents.__file__).parents[4] / "deploy"
STATE = ("vallum.dev/v1alpha1", "NodeState")
WITHOUT = "--bounding-set=-all"


def role() -> Manifest:
    return next(each for each in agents.manifests() if each["kind"] == "ClusterRole")


def capabilities(agent: Component) -> dict[str, int]:
    lines = Path(f"/proc/{agent.pid}/status").read_text().splitlines()
    pairs = (line.split(":") for line in lines if line.startswith("Cap"))
    return {name: int(value, 16) for name, value in pairs}


def test_every_agent_has_one_capability_and_can_gain_none(kube: KubeCluster) -> None:
    for name, agent in kube.agents.items():
        steps.healthy(kube, name)
        only = 1 << CAP_NET_ADMIN
        assert capabilities(agent) == {"CapInh": 0, "CapPrm": only, "CapEff": only, "CapBnd": only, "CapAmb": 0}
        assert "NoNewPrivs:\t1" in Path(f"/proc/{agent.pid}/status").read_text()


def test_the_daemon_set_gives_just_what_agents_run_with_here() -> None:
    daemon_set = yaml.safe_load((DEPLOY / "daemonset.yaml").read_text())
    (container,) = daemon_set["spec"]["template"]["spec"]["containers"]
    context = container["securityContext"]
    assert context["capabilities"] == {"drop": ["ALL"], "add": ["NET_ADMIN"]}
    assert (context["allowPrivilegeEscalation"], context.get("privileged", False)) == (False, False)
    assert agents.rights() == (
        *("setpriv", "--no-new-privs", "--bounding-set=-all,+net_admin", "--inh-caps=-all", "--ambient-caps=-all"),
    )


def test_without_net_admin_an_agent_refuses_to_start_and_names_what_it_lacks(kube: KubeCluster) -> None:
    usual = kube.agents[NAMED]
    words = tuple(WITHOUT if word.startswith("--bounding-set") else word for word in usual.words)
    assert words != usual.words
    with steps.instead(kube, NAMED, replace(usual, words=words, _process=None)) as agent:
        until(lambda: not agent.running, steps.PATIENCE, lambda: f"it runs: {agent.said()}")
        assert "CAP_NET_ADMIN" in agent.said()


@pytest.mark.parametrize(
    ("group", "resource", "verb"),
    [("", "nodes", "get"), ("vallum.dev", "nodestates", "create"), ("vallum.dev", "nodestates", "patch")],
)
def test_each_right_to_publish_is_needed_and_named_where_it_is_missing(
    kube: KubeCluster, group: str, resource: str, verb: str
) -> None:
    lesser = deepcopy(role())
    rule = next(each for each in lesser["rules"] if group in each["apiGroups"] and resource in each["resources"])
    rule["verbs"].remove(verb)
    kube.api.apply([lesser])
    kube.agents[NAMED].stop()
    before = len(kube.agents[NAMED].log.read_text())
    if verb == "create":
        kube.api.delete(*STATE, NAMED)
    try:
        kube.agents[NAMED].start()
        named = f'cannot {verb} resource "{resource}"'
        until(
            lambda: named in kube.agents[NAMED].log.read_text()[before:],
            steps.PATIENCE,
            lambda: f"not {named!r} but {kube.agents[NAMED].said()}",
        )
        steps.healthy(kube, NAMED)  # it enforces all the same
    finally:
        kube.api.apply([role()])
    until(
        lambda: started(kube) == steps.status(kube, NAMED)["started"][:19],
        steps.PATIENCE,
        lambda: f"its state is not published: {kube.agents[NAMED].said()}",
    )


def started(kube: KubeCluster) -> str:
    found = kube.api.find(*STATE, NAMED)
    return found["status"]["started"][:19] if found else ""


def test_the_role_names_no_more_than_is_tested() -> None:
    verbs = {(resource, verb) for rule in role()["rules"] for resource in rule["resources"] for verb in rule["verbs"]}
    followed = {(each, verb) for each in ("namespaces", "pods", "nodes", "networkpolicies") for verb in FOLLOWING}
    assert verbs == followed | {("nodes", "get"), ("nodestates", "create"), ("nodestates", "patch")}


FOLLOWING = ("list", "watch")


def test_a_pod_starts_under_these_rights_alone(kube: KubeCluster) -> None:
    with steps.namespace(kube, "rights") as space:
        made = [pods.pod(f"on{n}", ["TCP/80"], space=space, node=f"node{n}") for n in (1, 2)]
        kube.api.apply(made)
        here, there = kube.wait_ready(made)
        wanted = [one for each in steps.addresses(there) for one in steps.targets(each, 80, "TCP")]
        steps.eventually_reached(kube, here, wanted)
