"""`vallum ipam` as a user types it: what it shows, decides and refuses, dry runs, and the way back."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vallum.cli import main
from vallum.cli.ipam import _COMMANDS
from vallum.cli.ipam.store import LEDGER

EXAMPLES = Path(__file__).parents[2] / "examples" / "topologies"
ZONES, RACKS = str(EXAMPLES / "zones.yaml"), str(EXAMPLES / "racks.json")


class Typed:
    """Runs `vallum ipam WORDS` on a ledger of its own: status, what it printed, what it said on stderr."""

    def __init__(self, ledger: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.ledger, self._capsys, self._monkeypatch = ledger, capsys, monkeypatch

    def __call__(self, *words: str) -> tuple[int, str, str]:
        self._monkeypatch.setenv("VALLUM_LEDGER", str(self.ledger))
        self._monkeypatch.setattr(sys, "argv", ["vallum", "ipam", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        said = self._capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    def data(self, *words: str) -> Any:
        return json.loads(self(*words, "-o", "json")[1])

    def fine(self, *words: str) -> str:
        status, out, err = self(*words)
        assert (status, err) == (0, ""), err
        return out


@pytest.fixture
def typed(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Typed:
    return Typed(tmp_path / "ledger", capsys, monkeypatch)


@pytest.fixture
def zones(typed: Typed) -> Typed:
    typed.fine("topology", "set", ZONES)
    for name, zone, rack in (("a", "z1", "r1"), ("b", "z1", "r2"), ("c", "z2", "r3")):
        typed.fine("hosts", "add", name, "--label", f"zone={zone}", "--label", f"rack={rack}")
    typed.fine("allocate", "a", "p")
    return typed


# Layouts


@pytest.mark.parametrize("name", ["flat", "racks", "zones", "kubeadm"])
def test_both_forms_of_an_example_lay_the_same(typed: Typed, name: str) -> None:
    typed.fine("topology", "set", str(EXAMPLES / f"{name}.json"))
    assert "nothing to change" in typed.fine("topology", "plan", str(EXAMPLES / f"{name}.yaml"))


@pytest.mark.parametrize("words", [("-o", "yaml"), ("-o", "json"), ("--romana",)])
def test_an_exported_topology_is_read_as_what_it_was(typed: Typed, tmp_path: Path, words: tuple[str, ...]) -> None:
    typed.fine("topology", "set", ZONES)
    (tmp_path / "again.yaml").write_text(typed.fine("topology", "export", *words))
    assert "nothing to change" in typed.fine("topology", "plan", str(tmp_path / "again.yaml"))


def test_a_change_that_strands_an_address_is_refused_and_touches_nothing(zones: Typed) -> None:
    before = zones.fine("export")
    for verb in ("plan", "set"):
        status, out, err = zones("topology", verb, RACKS)
        assert (status, out) == (2, "")
        assert "Network prod: is left out, and 1 of its addresses are in use; drain it first" in err
    assert zones.fine("export") == before


def test_a_plan_tells_who_moves_and_who_stays(zones: Typed, tmp_path: Path) -> None:
    text = Path(ZONES).read_text()
    (tmp_path / "new.yaml").write_text(text.replace("        - assignment: {rack: r2}\n", "").replace("r3}", "r2}"))
    zones.fine("hosts", "remove", "c")
    zones.fine("hosts", "add", "d", "--label", "zone=z2", "--label", "rack=r4")
    status, out, err = zones("topology", "plan", str(tmp_path / "new.yaml"))
    assert (status, err) == (0, "")
    assert out.splitlines()[:2] == [
        "4 hosts and 1 addresses stay where they are",
        "host b moves in prod: 10.65.0.0/16 -> nowhere",
    ]
    planned = zones.data("topology", "plan", str(tmp_path / "new.yaml"))
    assert planned["moves"] == [{"host": "b", "network": "prod", "before": "10.65.0.0/16", "after": None}]
    assert (planned["hostsStay"], planned["addressesStay"]) == (4, 1)


# Showing


def test_spare_groups_are_drawn_as_closed_and_share_a_line(typed: Typed, tmp_path: Path) -> None:
    groups = ", ".join(f"{{name: g{number}}}" for number in range(5))
    spec = "apiVersion: vallum.dev/v1alpha1\nkind: {}\nmetadata: {{name: net}}\nspec: {}\n"
    network, topology = "{cidr: 10.0.0.0/24}", f"{{networks: [net], map: [{groups}]}}"
    (tmp_path / "l.yaml").write_text("---\n".join((spec.format("Network", network), spec.format("Topology", topology))))
    typed.fine("topology", "set", str(tmp_path / "l.yaml"))
    drawn = typed.fine("show").splitlines()
    assert [line.split()[:3] for line in drawn[6:8]] == [["├─", "g4", "10.0.0.128/27"], ["└─", "3", "spare"]]
    assert "10.0.0.160 to 10.0.0.255" in drawn[7]


def test_use_adds_up_from_the_groups_to_the_network(zones: Typed) -> None:
    zones.fine("blackout", "add", "10.66.0.0/24")
    zones.fine("allocate", "c", "q", "--address", "10.66.7.7")
    zones.fine("free", "q")
    prod = zones.data("show", "prod")["networks"][0]
    zone1, zone2 = prod["groups"]
    assert [zone1[key] for key in ("used", "resting", "closed", "hosts")] == [1, 0, 0, 2]
    assert [zone2[key] for key in ("used", "resting", "closed", "hosts")] == [0, 1, 256, 1]
    for level in (prod, zone1, zone2):
        assert level["used"] + level["resting"] + level["closed"] + level["free"] == level["size"]
        assert level["size"] == sum(group["size"] for group in level["groups"])


def test_an_address_tells_where_its_pod_is(zones: Typed) -> None:
    found = zones.data("show", "10.64.0.0")
    assert found == {
        "address": "10.64.0.0", "network": "prod", "group": "z1 / rack=r1", "range": "10.64.0.0/16", "host": "a",
        "block": "10.64.0.0/27", "owner": "p", "state": "in use",
    }  # fmt: skip
    assert zones.fine("show", "10.64.0.1").splitlines() == [
        "address  10.64.0.1",
        "network  prod",
        "group    z1 / rack=r1",
        "range    10.64.0.0/16",
        "host     a",
        "block    10.64.0.0/27",
        "state    free",
    ]
    zones.fine("free", "10.64.0.0")
    assert zones.data("show", "10.64.0.0")["state"].startswith("rests for ")
    assert zones("show", "192.0.2.1")[0] == 1


def test_blocks_are_found_by_host_and_network_and_name_their_owners(zones: Typed) -> None:
    zones.fine("allocate", "n1", "job", "--tenant", "ci")
    assert [each["host"] for each in zones.data("blocks")] == ["a", "n1"]
    assert [each["used"] for each in zones.data("blocks", "--network", "lab")] == [{"192.168.200.0": "job"}]
    assert zones.data("blocks", "--host", "b") == []
    assert zones.fine("blocks", "--owners").splitlines()[1].split() == ["10.64.0.0", "a", "p"]
    assert zones("blocks", "--host", "x")[0] == 2


# Dry runs


CHANGES: list[tuple[str, ...]] = [
    ("topology", "set", "FILE"),
    ("hosts", "add", "d", "--label", "zone=z2", "--label", "rack=r4", "--address", "192.0.2.9"),
    ("hosts", "label", "b", "disk=ssd"),
    ("hosts", "remove", "c"),
    ("allocate", "a", "q", "--address", "10.64.9.9"),
    ("free", "p"),
    ("free", "10.64.0.0", "--owner", "p"),
    ("blackout", "add", "10.64.0.0/24"),
    ("blackout", "remove", "10.67.0.0/24"),
    ("import", "FILE"),
]


@pytest.mark.parametrize("words", CHANGES, ids=lambda words: "-".join(words[:2]))
def test_a_dry_run_says_what_the_real_one_does_and_changes_nothing(
    zones: Typed, tmp_path: Path, words: tuple[str, ...]
) -> None:
    zones.fine("blackout", "add", "10.67.0.0/24")
    whole = zones.fine("export")
    (tmp_path / "more.yaml").write_text(whole.replace("map:\n  - name: bench", "map:\n  - name: benches"))
    (tmp_path / "layout.yaml").write_text(Path(ZONES).read_text().replace("name: bench", "name: benches"))
    file = {"import": "more.yaml", "topology": "layout.yaml"}.get(words[0])
    words = (*words[:-1], str(tmp_path / file)) if file else words
    planned = zones.data(*words, "--dry-run")
    assert zones.fine("export") == whole
    assert "dry run: nothing was changed" in zones.fine(*words, "--dry-run")
    done = zones.data(*words)
    assert (planned.pop("dryRun"), done.pop("dryRun")) == (True, False)
    assert without_times(planned) == without_times(done)
    assert done["changed"] or done["removed"]
    assert zones.fine("export") != whole


def without_times(found: Any) -> Any:
    """The same; when something was freed is now, and now goes on."""
    if isinstance(found, dict):
        return {
            key: sorted(value) if key == "freed" and isinstance(value, dict) else without_times(value)
            for key, value in found.items()
        }
    return [without_times(each) for each in found] if isinstance(found, list) else found


def test_a_dry_run_makes_no_ledger_where_there_is_none(typed: Typed) -> None:
    assert "would be made: Network prod" in typed.fine("topology", "set", ZONES, "--dry-run")
    assert not typed.ledger.exists()


# Hosts and addresses


def test_a_host_with_addresses_in_use_goes_only_when_that_is_meant(zones: Typed) -> None:
    status, _, err = zones("hosts", "remove", "a")
    assert (status, err.partition("; ")[2]) == (
        2,
        "drain it first, or give --with-addresses when it is gone for good\n",
    )
    zones.fine("hosts", "remove", "a", "--with-addresses")
    assert [each["name"] for each in zones.data("hosts")] == ["b", "c", "n1", "n2"]
    assert zones.data("show", "10.64.0.0")["state"].startswith("rests for ")


def test_labels_are_changed_as_kubectl_does_and_never_out_of_a_group(zones: Typed) -> None:
    zones.fine("hosts", "label", "b", "disk=ssd", "spot=yes")
    zones.fine("hosts", "label", "b", "spot-")
    assert zones.data("hosts")[1]["labels"] == {"disk": "ssd", "rack": "r2", "zone": "z1"}
    for change in ("rack-", "rack=r1", "missing-", "no label"):
        assert zones("hosts", "label", "b", change)[0] == 2
    assert zones.data("hosts")[1]["labels"] == {"disk": "ssd", "rack": "r2", "zone": "z1"}


def test_what_was_freed_once_is_not_freed_twice(zones: Typed) -> None:
    assert zones("free", "p")[0] == 0
    assert zones("free", "p")[:2] == (1, "nothing to change\n")
    assert zones("free", "10.64.0.0")[0] == 1


def test_an_owner_of_two_hosts_needs_the_host(zones: Typed) -> None:
    zones.fine("allocate", "c", "p")
    status, _, err = zones("free", "p")
    assert (status, err) == (2, "vallum: owner p: is on several hosts: a, c; give --host\n")
    zones.fine("free", "p", "--host", "c")
    assert [each["used"] for each in zones.data("blocks", "--host", "a")] == [{"10.64.0.0": "p"}]


def test_an_address_of_another_owner_is_left_alone(zones: Typed) -> None:
    assert zones("free", "10.64.0.0", "--owner", "q")[0] == 1
    assert zones.data("show", "10.64.0.0")["owner"] == "p"


def test_a_full_pool_says_what_would_help(typed: Typed, tmp_path: Path) -> None:
    small = (EXAMPLES / "flat.json").read_text().replace("10.40.0.0/20", "10.40.0.0/31").replace("28", "31")
    (tmp_path / "small.json").write_text(small)
    typed.fine("topology", "set", str(tmp_path / "small.json"))
    typed.fine("hosts", "add", "h")
    for owner in "ab":
        typed.fine("allocate", "h", owner)
    status, _, err = typed("allocate", "h", "c")
    assert status == 2
    assert "Host h: network pods-a, group all 10.40.0.0/31: no address is left (2 in use)" in err
    assert "what helps: another network for this group" in err


def test_a_blackout_over_addresses_in_use_drains(zones: Typed) -> None:
    assert "1 in use there, which drain: 10.64.0.0 (p on a)" in zones.fine("blackout", "add", "10.64.0.0/30")
    assert zones.data("blackout") == [{"cidr": "10.64.0.0/30", "inUse": ["10.64.0.0"]}]
    assert zones.data("allocate", "a", "q")["addresses"] == ["10.64.0.4"]
    zones.fine("free", "p")
    assert zones.data("blackout") == [{"cidr": "10.64.0.0/30", "inUse": []}]
    assert zones("blackout", "remove", "10.64.0.0/29")[0] == 2


# Verifying


def pod(name: str, node: str, address: str, **more: Any) -> dict[str, Any]:
    spec = {"nodeName": node, "containers": [], **more}
    return {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec, "status": {"podIP": address},
    }  # fmt: skip


@pytest.fixture
def pods(tmp_path: Path) -> Callable[..., str]:
    def write(*items: dict[str, Any]) -> str:
        (tmp_path / "pods.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
        return str(tmp_path / "pods.json")

    return write


def test_a_ledger_that_fits_the_pods_there_are_has_no_findings(zones: Typed, pods: Callable[..., str]) -> None:
    there = pods(pod("web", "a", "10.64.0.0"), pod("agent", "a", "192.0.2.1", hostNetwork=True))
    assert zones.fine("verify", "--pods", there).startswith("0 findings: 5 hosts")
    assert zones.fine("verify").startswith("0 findings")


def test_pods_that_the_ledger_does_not_know_are_told_and_so_are_those_that_went(
    zones: Typed, pods: Callable[..., str]
) -> None:
    there = pods(pod("stranger", "a", "10.64.0.7"), pod("elsewhere", "b", "10.64.0.0"))
    status, out, _ = zones("verify", "--pods", there, "-o", "json")
    assert status == 1
    assert [(each["rule"], each["place"]) for each in json.loads(out)] == [
        ("unknown", "address 10.64.0.7"),
        ("lost", "address 10.64.0.0"),
        ("unknown", "address 10.64.0.0"),
    ]


# The way back


def test_an_export_put_back_elsewhere_is_the_same_ledger(zones: Typed, tmp_path: Path) -> None:
    zones.fine("allocate", "n2", "x", "--tenant", "qa")
    zones.fine("free", "p")
    zones.fine("blackout", "add", "10.67.0.0/16")
    for form in ("yaml", "json"):
        (tmp_path / form).write_text(whole := zones.fine("export", "-o", form))
        zones.ledger = tmp_path / f"ledger-{form}"
        zones.fine("import", str(tmp_path / form))
        assert zones.fine("export", "-o", form) == whole
        zones.ledger = tmp_path / "ledger"


def test_an_old_export_never_gives_away_what_is_in_use(zones: Typed, tmp_path: Path) -> None:
    (tmp_path / "old.yaml").write_text(zones.fine("export"))
    zones.fine("allocate", "a", "newer")
    out = zones.fine("import", str(tmp_path / "old.yaml"))
    assert "1 addresses are in use now and not so in the file; they stay: 10.64.0.1" in out
    assert zones.data("allocate", "a", "third")["addresses"] == ["10.64.0.2"]


def test_hosts_that_joined_since_stay_and_go_on(zones: Typed, tmp_path: Path) -> None:
    (tmp_path / "old.yaml").write_text(zones.fine("export"))
    zones.fine("hosts", "add", "late", "--label", "zone=z2", "--label", "rack=r4")
    zones.fine("allocate", "late", "x")
    zones.fine("hosts", "remove", "c")
    for file in (str(tmp_path / "old.yaml"), ZONES):  # a layout alone is an old backup as well
        zones.fine("import", file)
        assert zones.data("show", "10.67.0.0")["owner"] == "x"
        assert {"a", "b", "c", "late"} <= {each["name"] for each in zones.data("hosts")}
    assert zones.data("allocate", "late", "y")["addresses"] == ["10.67.0.1"]
    assert zones.data("verify") == []


def test_an_import_without_the_network_of_an_address_in_use_is_refused(zones: Typed) -> None:
    before = zones.fine("export")
    status, _, err = zones("import", str(EXAMPLES / "racks.yaml"))
    assert status == 2
    assert "import: 10.64.0.0 (1 in all) are in use now, and no network of the import has them; free them" in err
    assert zones.fine("export") == before


def test_a_backup_that_contradicts_itself_is_refused_with_its_record(zones: Typed, tmp_path: Path) -> None:
    before = zones.fine("export")
    (tmp_path / "torn.yaml").write_text(before.replace("path: 0/0", "path: 0/1"))
    status, _, err = zones("import", str(tmp_path / "torn.yaml"))
    assert status == 2
    assert "Block 10.64.0.0/27: it lies outside of 10.65.0.0/16" in err
    assert zones.fine("export") == before


def test_a_ledger_that_is_missing_or_damaged_is_refused_with_the_cure(typed: Typed) -> None:
    for words in (("show",), ("free", "p"), ("hosts", "add", "h")):
        status, _, err = typed(*words)
        assert (status, "no ledger is here" in err, typed.ledger.exists()) == (2, True, False)
    typed.ledger.write_text("not a database, but long enough to look like one" * 100)
    status, _, err = typed("show")
    assert status == 2
    assert "is damaged" in err
    assert "vallum ipam import" in err


# The command itself


@pytest.mark.parametrize("name", list(_COMMANDS))
def test_every_command_teaches_itself(typed: Typed, name: str) -> None:
    out = typed.fine(name, "--help")
    assert f"vallum ipam {name}" in out
    assert "--ledger" in out or "COMMAND" in out


def test_a_store_named_for_the_list_is_never_dropped_for_a_command_behind_it(typed: Typed) -> None:
    assert typed("hosts", "--ledger", "x", "remove", "h")[0] == 2
    assert str(LEDGER) in typed.fine("show", "--help")
