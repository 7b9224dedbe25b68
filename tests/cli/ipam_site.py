"""A cluster to type `vallum ipam` at: a fake API, two nodes in two racks, and their agents as far as addresses go."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from kubeipam import NODES, Life, Server, server

GROUP = "/apis/vallum.dev/v1alpha1"
KINDS = ("networks", "topologies", "blackouts", "hosts", "blocks", "strays")
ZONES = Path(__file__).parents[2] / "examples" / "topologies" / "zones.yaml"
RACKS = {"node1": {"zone": "z1", "rack": "r1"}, "node2": {"zone": "z1", "rack": "r2"}}


class Site:
    """Its `kubeconfig` names the API."""

    def __init__(self, api: Server, folder: Path, open_: ExitStack) -> None:
        self.api, self._folder, self._open = api, folder, open_
        self.kubeconfig = folder / "kubeconfig"
        self.nodes: dict[str, Life] = {}
        found = {
            "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": api.api.url}}],
            "contexts": [{"name": "c", "context": {"cluster": "c"}}],
        }
        self.kubeconfig.write_text(json.dumps(found))

    def join(self, name: str, **marks: str) -> Life:
        """A node comes, and a pod on it."""
        body = {"metadata": {"name": name, "uid": f"uid-{name}", "labels": marks}}
        self.api.do(lambda: self.api.api.put(NODES, body))
        remote = self._open.enter_context(self.api.remote())
        life = self.nodes[name] = Life(remote, self._folder / name / "ledger", name, {}, [1000.0]).begin(**marks)
        life.add(f"eth0.on-{name}")
        life.keep()
        life.news()
        return life

    def everything(self) -> dict[str, Any]:
        """The objects there are, by plural of their kind."""
        return {kind: self.api.do(lambda kind=kind: self.api.api.objects(f"{GROUP}/{kind}")) for kind in KINDS}

    def put(self, plural: str, kind: str, name: str, **spec: Any) -> None:
        """As kubectl would."""
        body = {"kind": kind, "metadata": {"name": name}, "spec": spec}
        self.api.do(lambda: self.api.api.put(f"{GROUP}/{plural}", body))

    def delete(self, path: str, name: str) -> None:
        """As kubectl would."""
        self.api.do(lambda: self.api.api.delete(path, name))


@contextmanager
def cluster(folder: Path) -> Iterator[Site]:
    """An empty one."""
    with server() as api, ExitStack() as open_:
        yield Site(api, folder, open_)
