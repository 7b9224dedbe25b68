"""docs/ipam.md is the test: its commands give what stands below them, and its tables name every field there is.

Its cluster is a fake API with the zones of the examples and two nodes, each with a pod.
"""

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.ipam_site import RACKS, Site, cluster
from ipam.store_contract import lay
from vallum.cli import main
from vallum.cli.ipam import _COMMANDS
from vallum.cli.ipam.layout import read_layout
from vallum.ipam import own
from vallum.sources.kube.ipam_store import KubeStore

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "ipam.md").read_text()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with cluster(tmp_path) as found:
        with found.api.remote() as remote:
            lay(KubeStore(remote), read_layout(str(ROOT / "examples" / "topologies" / "zones.yaml")))
        for name, marks in RACKS.items():
            found.join(name, **marks)
        yield found


def test_every_command_of_the_page_prints_what_the_page_says(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VALLUM_LEDGER", str(tmp_path / "ledger"))
    monkeypatch.setenv("KUBECONFIG", str(site.kubeconfig))
    runs = [run for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL) for run in block.split("$ ")[1:]]
    assert len(runs) > 15
    for run in runs:
        line, _, expected = run.partition("\n")
        words, _, file = line.partition(" > ")
        monkeypatch.setattr(sys, "argv", shlex.split(words))
        with pytest.raises(SystemExit):
            main()
        said = capsys.readouterr()
        if file:
            Path(file).write_text(said.out)
        printed = ("" if file else said.out) + said.err
        assert [each.rstrip() for each in printed.splitlines()] == expected.splitlines(), line


def test_every_command_is_on_the_page() -> None:
    assert not [name for name in _COMMANDS if f"vallum ipam {name}" not in PAGE]


def test_every_field_of_our_form_is_on_the_page() -> None:
    rows = set(re.findall(r"`(\w+)`", "\n".join(re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE))))
    assert rows == own.NETWORK_FIELDS | own._GROUP | {"networks", "map"}


def test_the_example_of_the_page_is_a_layout(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "layout.yaml").write_text(example)
    found = read_layout(str(tmp_path / "layout.yaml"))
    assert (len(found.networks), len(found.topologies), len(found.blackouts)) == (1, 1, 1)
