"""The configuration offers what all plugins speak, goes in last and whole, and uninstall leaves nothing."""

import json
from pathlib import Path

import pytest

from vallum.cni import conflist as module
from vallum.cni.build import shim
from vallum.cni.conflist import NAME, Places, conflist, install, uninstall
from vallum.cni.service import Doors
from vallum.model.errors import InputError

DOORS = Doors(Path("/run/x/cni.sock"), Path("/var/lib/x/queue"))
OLD = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0")
NEW = (*OLD, "1.1.0")


def places(tmp_path: Path) -> Places:
    return Places(tmp_path / "net.d", tmp_path / "bin")


def fake_plugin(folder: Path, name: str, answer: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\ncat >/dev/null\necho '{answer}'\n")
    (folder / name).chmod(0o755)


@pytest.mark.parametrize(
    ("others", "chain", "versions"),
    [
        ({}, ["vallum"], ["0.3.1", "0.4.0", "1.0.0", "1.1.0"]),
        ({"portmap": OLD, "bandwidth": OLD}, ["vallum", "portmap", "bandwidth"], ["0.3.1", "0.4.0", "1.0.0"]),
        ({"bandwidth": NEW}, ["vallum", "bandwidth"], ["0.3.1", "0.4.0", "1.0.0", "1.1.0"]),
        ({"portmap": ("0.2.0",), "bandwidth": NEW}, ["vallum", "bandwidth"], ["0.3.1", "0.4.0", "1.0.0", "1.1.0"]),
    ],
)
def test_only_versions_that_the_whole_chain_speaks_are_offered(
    others: dict[str, tuple[str, ...]], chain: list[str], versions: list[str]
) -> None:
    text = json.loads(conflist(DOORS, others))
    assert [plugin["type"] for plugin in text["plugins"]] == chain
    assert (text["cniVersion"], text["cniVersions"], text["name"]) == ("1.0.0", versions, "vallum")


def test_our_plugin_knows_its_doors_and_asks_for_its_capabilities() -> None:
    (ours,) = json.loads(conflist(DOORS, {}, mtu=1400))["plugins"]
    assert ours == {
        "type": "vallum",
        "socket": "/run/x/cni.sock",
        "queueDir": "/var/lib/x/queue",
        "capabilities": {"ips": True, "mac": True},
        "mtu": 1400,
    }
    assert "mtu" not in json.loads(conflist(DOORS, {}))["plugins"][0]


def test_the_plugin_is_in_place_before_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order = []
    real = module.put
    monkeypatch.setattr(module, "put", lambda path, *rest: order.append(path.name) or real(path, *rest))
    assert install(places(tmp_path), shim(), DOORS)
    assert order == ["vallum", NAME]
    assert (tmp_path / "bin" / "vallum").read_bytes() == shim().read_bytes()
    assert (tmp_path / "bin" / "vallum").stat().st_mode & 0o777 == 0o755
    assert [path.name for path in (tmp_path / "net.d").iterdir()] == [NAME]


def test_installed_plugins_are_asked_what_they_speak(tmp_path: Path) -> None:
    fake_plugin(tmp_path / "bin", "portmap", json.dumps({"cniVersion": "1.0.0", "supportedVersions": OLD}))
    fake_plugin(tmp_path / "bin", "bandwidth", "rubbish")
    install(places(tmp_path), shim(), DOORS)
    text = json.loads((tmp_path / "net.d" / NAME).read_text())
    assert [plugin["type"] for plugin in text["plugins"]] == ["vallum", "portmap"]
    assert text["cniVersions"][-1] == "1.0.0"


def test_what_is_there_already_is_not_written_again(tmp_path: Path) -> None:
    where = places(tmp_path)
    install(where, shim(), DOORS)
    before = [path.stat().st_ino for path in sorted(tmp_path.rglob("*"))]
    assert not install(where, shim(), DOORS)
    assert [path.stat().st_ino for path in sorted(tmp_path.rglob("*"))] == before
    assert install(where, shim(), Doors(Path("/other")))


def test_a_plugin_that_is_running_is_replaced_all_the_same(tmp_path: Path) -> None:
    where = places(tmp_path)
    fake_plugin(where.plugins, "vallum", "an old one")
    with (where.plugins / "vallum").open("rb"):
        assert install(where, shim(), DOORS)
    assert (where.plugins / "vallum").read_bytes() == shim().read_bytes()


def test_uninstall_takes_the_configuration_first_and_leaves_no_file(tmp_path: Path) -> None:
    where = places(tmp_path)
    install(where, shim(), DOORS)
    assert uninstall(where)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert not uninstall(where)


def test_a_folder_that_cannot_be_written_is_named_with_its_option(tmp_path: Path) -> None:
    (tmp_path / "bin").write_text("a file")
    with pytest.raises(InputError, match=r"bin/vallum: .*; give another folder with --cni-bin-dir"):
        install(places(tmp_path), shim(), DOORS)
    (tmp_path / "bin").unlink()
    (tmp_path / "net.d").write_text("a file")
    with pytest.raises(InputError, match="give another folder with --cni-conf-dir"):
        install(places(tmp_path), shim(), DOORS)
