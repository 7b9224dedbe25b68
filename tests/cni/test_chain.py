"""Behind another plugin: its configuration with ours last, followed as it changes."""

import json
from pathlib import Path

import pytest

from vallum.cni import chain
from vallum.cni.conflist import Places
from vallum.cni.service import Doors
from vallum.model.errors import InputError

DOORS = Doors(Path("/run/v.sock"), Path("/var/q"))
BRIDGE = {"cniVersion": "1.0.0", "name": "net", "plugins": [{"type": "bridge", "mtu": 1400}, {"type": "portmap"}]}


def types(text: str) -> list[str]:
    return [plugin["type"] for plugin in json.loads(text)["plugins"]]


def test_ours_is_the_last_of_the_list_and_the_others_stay_as_they_are():
    found = json.loads(chain.appended(json.dumps(BRIDGE), DOORS, "file"))
    assert found["plugins"][:2] == BRIDGE["plugins"]
    assert found["plugins"][2] == {"type": "vallum", "socket": "/run/v.sock", "queueDir": "/var/q"}
    assert (found["name"], found["cniVersion"]) == ("net", "1.0.0")


def test_a_single_plugins_file_becomes_a_list():
    text = chain.appended(json.dumps({"cniVersion": "0.4.0", "name": "net", "type": "ptp", "mtu": 9}), DOORS, "file")
    assert json.loads(text)["plugins"][0] == {"type": "ptp", "mtu": 9}
    assert types(text) == ["ptp", "vallum"]


def test_appending_twice_is_appending_once():
    once = chain.appended(json.dumps(BRIDGE), DOORS, "file")
    assert chain.appended(once, DOORS, "file") == once


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "no JSON"),
        ("[]", "has a name"),
        ('{"plugins": []}', "has a name"),
        ('{"name": "n", "plugins": [{}]}', "has a type"),
        ('{"name": "n"}', "has a type"),
    ],
)
def test_what_is_no_configuration_is_refused_by_its_name(text: str, said: str):
    with pytest.raises(InputError, match=f"^file: .*{said}"):
        chain.appended(text, DOORS, "file")


def test_the_combined_file_sorts_first_follows_the_other_and_goes_with_it(tmp_path: Path):
    places = Places(tmp_path / "net.d", tmp_path / "bin")
    places.configurations.mkdir()
    (shim := tmp_path / "shim").write_bytes(b"shim")
    base = places.configurations / "10-net.conflist"
    base.write_text(json.dumps(BRIDGE))
    assert chain.install(places, shim, DOORS, base.name)
    assert not chain.install(places, shim, DOORS, base.name)
    ours, theirs = sorted(places.configurations.iterdir())
    assert theirs == base
    assert types(ours.read_text()) == ["bridge", "portmap", "vallum"]
    assert json.loads(base.read_text()) == BRIDGE
    base.write_text(json.dumps(BRIDGE | {"plugins": [{"type": "macvlan"}]}))
    assert chain.install(places, shim, DOORS, base.name)
    assert types(ours.read_text()) == ["macvlan", "vallum"]
    base.unlink()
    with pytest.raises(InputError, match="--cni-chain"):
        chain.install(places, shim, DOORS, base.name)
    assert list(places.configurations.iterdir()) == []


def test_removal_takes_the_combined_file_only(tmp_path: Path):
    places = Places(tmp_path / "net.d", tmp_path / "bin")
    places.configurations.mkdir()
    (shim := tmp_path / "shim").write_bytes(b"shim")
    (places.configurations / "10-net.conflist").write_text(json.dumps(BRIDGE))
    chain.install(places, shim, DOORS, "10-net.conflist")
    assert chain.uninstall(places)
    assert not chain.uninstall(places)
    assert [path.name for path in places.configurations.iterdir()] == ["10-net.conflist"]
