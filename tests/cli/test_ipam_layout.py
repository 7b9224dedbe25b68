"""Files of networks and topologies: what is wrong in them is told with file, line and column."""

from pathlib import Path

import pytest

from vallum.cli.ipam.layout import read_layout
from vallum.model.errors import InputError

EXAMPLES = Path(__file__).parents[2] / "examples" / "topologies"
ZONES_YAML, ZONES_JSON = (EXAMPLES / f"zones.{ending}" for ending in ("yaml", "json"))


CASES: list[tuple[Path, str, str, int, str]] = [
    (ZONES_YAML, "blockMask: 27}", "blockmask: 27}", 6, "Network prod blockmask: is no field here; did you mean"),
    (ZONES_YAML, "blockMask: 29", "blockMask: 33", 11, "Network lab blockMask: 33 is out of range"),
    (ZONES_YAML, "cidr: 192.168.200.0/22", "cidr: 10.64.1.0/24", 11, "Network lab cidr: 10.64.1.0/24 overlaps"),
    (ZONES_YAML, "{rack: r2}", "{rack: 2}", 23, "Topology prod map[0].groups[1].assignment.rack: is the number 2"),
    (ZONES_YAML, "networks: [lab]", "networks: [labs]", 34, "Topology lab networks: no network is named labs"),
    (ZONES_YAML, "kind: Network", "kind: Networks", 4, "document 1 kind: 'Networks' is none of"),
    (ZONES_YAML, "  map:\n    - name: z1", "  map\n    - name: z1", 18, "a key without `: `"),
    (ZONES_YAML, "address: 10.9.0.12", "address: 10.9.0.300", 39, "Topology lab map[0].hosts[1].address: is"),
    (ZONES_JSON, '"block_mask": 27', '"block_mask": 13', 1, "Network prod blockMask: 13 is out of range"),
    (ZONES_JSON, '{"rack": "r3"}', '{"rack": ["r3"]}', 8, "topologies[0].map[1].groups[0].assignment.rack: is a"),
    (ZONES_JSON, '"ip": "10.9.0.12"', '"ip": "10.9.0.11"', 9, "Topology lab map: the host 10.9.0.11 stands twice"),
    (ZONES_JSON, '"map"', '"tree"', 4, "topologies[0].tree: is no field here"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[-1])
def test_a_mistake_is_told_at_its_line(tmp_path: Path, case: tuple[Path, str, str, int, str]) -> None:
    example, old, new, line, told = case
    text = example.read_text()
    assert old in text
    file = tmp_path / f"layout{example.suffix}"
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError) as error:
        read_layout(str(file))
    place, _, rest = str(error.value).removeprefix(f"{file}:").partition(": ")
    assert (int(place.split(":")[0]), rest[: len(told)]) == (line, told)


def test_a_folder_of_files_is_one_layout(tmp_path: Path) -> None:
    for number, part in enumerate(ZONES_YAML.read_text().split("---\n")):
        (tmp_path / f"{number}.yaml").write_text(part)
    assert read_layout(str(tmp_path)) == read_layout(str(ZONES_YAML)) == read_layout(str(ZONES_JSON))


def test_romanas_form_beside_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(ZONES_JSON.read_text())
    (tmp_path / "b.yaml").write_text(ZONES_YAML.read_text())
    with pytest.raises(InputError, match=r"a\.json:1:1: Romana's topology is one document with nothing beside it"):
        read_layout(str(tmp_path))


def test_every_wrong_file_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("- 1\n")
    (tmp_path / "b.yaml").write_text("a: [\n")
    with pytest.raises(InputError, match=r"(?s)a\.yaml:1:1: is no object; begin it .*b\.yaml:"):
        read_layout(str(tmp_path))


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n"])
def test_a_file_without_a_document_is_no_layout(tmp_path: Path, text: str) -> None:
    """Read as an empty one it would remove every network."""
    (tmp_path / "empty.yaml").write_text(text)
    with pytest.raises(InputError, match="holds no document"):
        read_layout(str(tmp_path / "empty.yaml"))
