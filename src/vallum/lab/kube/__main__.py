"""`python -m vallum.lab.kube`: a Kubernetes of one's own on this machine, for tests and to look at.

What `make kube-up`, `make kube-down` and `make test-kube` call. Printing and exit codes stand here and nowhere else.
"""

import argparse
import os
import signal
import sys
from collections.abc import Sequence

from vallum.kernel import netns
from vallum.lab.kube import background, binaries, box, cluster, node
from vallum.lab.kube.client import Api
from vallum.lab.kube.cluster import KubeSettings
from vallum.model.errors import InputError, KernelError


def main(words: Sequence[str]) -> int:
    """Run one command; its exit code."""
    told = _parser().parse_args(words)
    try:
        code: int = told.run(told)
    except InputError as error:
        print(f"kube: {error}", file=sys.stderr)
        return 2
    except KernelError as error:
        print(f"kube: {error}", file=sys.stderr)
        return 1
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m vallum.lab.kube", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run: object, help_: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=help_)
        command.set_defaults(run=run)
        return command

    add("build", _build, "build or check the cached binaries")
    starts = add("up", _up, "start a cluster in the background")
    starts.add_argument("--nodes", type=int, default=2)
    starts.add_argument("--proxy", choices=node.PROXY_MODES, default=node.PROXY_MODES[0])
    starts.add_argument("--cni", choices=cluster.CNIS, default=cluster.CNIS[0])
    add("down", _down, "end it, and remove what a crash left")
    add("status", _status, "nodes and pods")
    add("kubeconfig", _kubeconfig, "the path of its kubeconfig")
    enters = add("exec", _exec, "run a command inside: --node node1 -- nft list ruleset")
    enters.add_argument("--node", help="in the network namespace of this node")
    enters.add_argument("words", nargs="+")
    within = add("inside", _inside, "run a command in an empty sandbox in which it can build clusters, as tests do")
    within.add_argument("words", nargs="+")
    return parser


def _build(_: argparse.Namespace) -> int:
    def announce(text: str) -> None:
        print(f"kube: {text}; two cores take ten minutes for the first time", flush=True)

    binaries.build(announce)
    return 0


def _up(told: argparse.Namespace) -> int:
    box.check()
    settings = KubeSettings(told.nodes, told.proxy, told.cni, background.LOGS)
    background.up(settings, binaries.build())
    _status(told)
    print(
        f"kube: up. export KUBECONFIG={background.KUBECONFIG}; logs are in {background.LOGS}; `make kube-down` ends it"
    )
    return 0


def _down(_: argparse.Namespace) -> int:
    if os.geteuid() != 0:
        raise InputError("", "the cluster belongs to root: run this with sudo")
    was_up = background.held()
    background.down()
    print(f"kube: {'down' if was_up else 'none was up'}")
    return 0


def _status(_: argparse.Namespace) -> int:
    _need_up()
    api = Api(background.KUBECONFIG)
    nodes = api.list("v1", "Node")
    for each in nodes:
        state = "Ready" if cluster.condition(each, "Ready") else "not Ready"
        print(f"{each['metadata']['name']}: {state}, pods {', '.join(each['spec'].get('podCIDRs', []))}")
    for each in api.list("v1", "Pod"):
        name = f"{each['metadata']['namespace']}/{each['metadata']['name']}"
        print(f"{name}: {each['status'].get('phase')} on {each['spec'].get('nodeName')}")
    return 0 if all(cluster.condition(each, "Ready") for each in nodes) else 1


def _kubeconfig(_: argparse.Namespace) -> int:
    _need_up()
    print(background.KUBECONFIG)
    return 0


def _exec(told: argparse.Namespace) -> int:
    background.enter()
    child = os.fork()
    if child == 0:
        _become(told.words, told.node)
    for number in (signal.SIGINT, signal.SIGQUIT):  # the terminal sends them to the command as well
        signal.signal(number, signal.SIG_IGN)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 0xFF


def _inside(told: argparse.Namespace) -> int:
    box.check()
    with box.spawn(lambda: _become(told.words, None), tie_to_parent=True) as made:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        code = made.wait()
    background.remove_groups()
    return code


def _become(words: Sequence[str], node_name: str | None) -> int:
    try:
        if node_name is not None:
            with netns.entered(node_name):
                os.execvp(words[0], list(words))  # noqa: S606 - the user's own command
        os.execvp(words[0], list(words))  # noqa: S606 - likewise
    except (OSError, KernelError) as error:
        print(f"kube: {words[0]}: {error}", file=sys.stderr)
        sys.stderr.flush()
    os._exit(127)


def _need_up() -> None:
    if not background.held():
        raise InputError("", "no cluster is up; start one with `make kube-up`")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
