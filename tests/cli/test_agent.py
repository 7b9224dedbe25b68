"""What `vallum agent` refuses before anything runs."""

import pytest

from vallum.cli.agent import command
from vallum.model.errors import InputError


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--source", "folder:x", "--cni", "--ipam", "cluster"], "cluster needs --source kube"),
        (["--source", "kube", "--no-cni", "--ipam", "cluster"], "wired here; add --cni"),
        (["--source", "kube", "--cni-chain", "x", "--ipam", "ledger"], "wired here; add --cni"),
    ],
)
def test_addresses_that_nobody_would_get_are_refused(words: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        command.main(["--node", "n", *words], standalone_mode=False)
