"""What a wrong call says when no file is to blame: no root, no nft, a missing feature, something in use.

Each is one line with the cure, beside those of tests/cases/bad; no two are alike.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from inside import become_nobody, fork, run_inside
from vallum.cli import main
from vallum.kernel import nft
from vallum.kernel.nflog import Nflog
from vallum.model.errors import InputError, KernelError

SHOP = Path(__file__).parents[2] / "examples" / "shop"


def said_by(call: Callable[[], object]) -> tuple[int, str]:
    """Exit code and stderr of `main` in a fork that `call` prepares."""
    read, write = os.pipe()

    def body() -> None:
        os.dup2(write, 2)
        sys.stderr = os.fdopen(2, "w", closefd=False)
        call()
        try:
            main()
        except SystemExit as ended:
            sys.stderr.flush()
            os._exit(int(ended.code or 0))

    child = fork(body)
    os.close(write)
    with os.fdopen(read, "r") as pipe:
        text = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), text


def agent_words(*more: str) -> list[str]:
    return ["vallum", "agent", "--node", "node1", "--source", f"folder:{SHOP}", *more]


def test_an_agent_without_privileges_says_what_it_needs(tmp_path: Path):
    import vallum.agent.run  # noqa: PLC0415 - while the files may be read: a clone need not be open to nobody
    import vallum.cli.agent  # noqa: PLC0415
    import vallum.dataplane.nftables.plane  # noqa: F401, PLC0415

    def prepare() -> None:
        sys.argv = agent_words("--socket", str(tmp_path / "a.sock"))
        become_nobody()

    code, text = said_by(prepare)
    assert (code, text) == (2, f"vallum: nftables: {nft.FORBIDDEN}\n")


def test_a_machine_without_libnftables_is_told_which_package(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(nft, "_LIBRARY", "libnftables-absent.so.1")
    with pytest.raises(InputError) as raised:
        nft.Nft()
    assert str(raised.value) == (
        "nftables: libnftables.so.1 is not installed; on Debian or Ubuntu: apt-get install libnftables1 nftables"
    )


@pytest.mark.packets
def test_a_log_group_that_another_program_reads_is_named():
    def piece() -> str:
        first = Nflog(86)
        try:
            Nflog(86)
        except KernelError as error:
            return str(error)
        finally:
            first.close()
        return "no error"

    assert run_inside(piece) == "NFLOG group 86: EPERM; another program may read it"


@pytest.mark.packets
def test_a_second_agent_on_a_socket_is_refused(tmp_path: Path):
    path = tmp_path / "agent.sock"

    def piece() -> tuple[int, str]:
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
            other.listen()
            words = [sys.executable, "-m", *agent_words("--socket", str(path))]
            ended = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)
        return ended.returncode, ended.stderr

    code, text = run_inside(piece)
    assert code == 2
    assert f"vallum: {path}: another agent answers here; stop it or choose another --socket\n" in text


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ["agent", "--node", "n", "--source", "kubernetes"],
            "vallum: --source: kube or folder:DIR, got 'kubernetes'",
        ),
        (
            ["lab", "up", "--name", "No Name"],
            "vallum: --name: lower-case letters, digits and dashes, at most 32, got 'No Name'",
        ),
        (
            ["lab", "down", "--name", "absent-lab"],
            "vallum: lab absent-lab: it is not up; start it with `vallum lab up --name absent-lab`",
        ),
        (
            ["explain", "-f", str(SHOP), "shop/web", "data/db", "http/tcp/x"],
            "vallum: SERVICE: PORT, PORT/PROTO or a protocol, such as 5432, 53/UDP or ICMP; got 'http/tcp/x'",
        ),
        (
            ["explain", "-f", str(SHOP), "data/web", "data/db", "80"],
            "vallum: there is no pod data/web; did you mean shop/web?",
        ),
        (
            ["explain", "-f", str(SHOP), "shop/migrate", "data/db", "80"],
            "vallum: pod shop/migrate has finished: it neither sends nor receives",
        ),
        (
            ["judge", "-f", "-"],
            "vallum: -f -: standard input carries the probes; give the world as a folder or file",
        ),
        (
            ["status", "--socket", "/nowhere/agent.sock"],
            (
                "vallum: /nowhere/agent.sock: no agent answers here (No such file or directory); is one running? "
                "--kubeconfig FILE asks about the whole cluster"
            ),
        ),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_2(words: list[str], line: str):
    ended = subprocess.run([sys.executable, "-m", "vallum", *words], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (2, line + "\n")
