"""Values know where they stand, and YAML's own traps (aliases, merges, words that are booleans) are ours too."""

import pytest

from vallum.sources.marks import Findings, plain
from vallum.sources.yaml_text import documents


def read(text: str) -> list[object]:
    findings = Findings("a.yaml")
    values = [plain(value) for value in documents(text, findings)]
    assert findings.errors == []
    return values


def wrong(text: str) -> str:
    findings = Findings("a.yaml")
    assert list(documents(text, findings)) == []
    (error,) = findings.errors
    return str(error)


def test_keys_and_values_have_line_and_column_from_one() -> None:
    (value,) = documents("a: 1\nb:\n  - x\n  - {c: é, d: y}\n", Findings(""))
    assert isinstance(value.data, dict)
    assert value.keys == {"a": (1, 1), "b": (2, 1)}
    items = value.data["b"].data
    assert isinstance(items, tuple)
    assert items[0].spot == (3, 5)
    assert items[1].keys == {"c": (4, 6), "d": (4, 12)}


def test_empty_documents_are_left_out_and_windows_line_ends_read() -> None:
    assert read("---\n---\n# nothing\n---\r\na: b\r\n---\n~\n...\n") == [{"a": "b"}]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("on", True),
        ("Yes", True),
        ("y", True),
        ("N", False),
        ("off", False),
        ("'on'", "on"),
        ("~", None),
        ("", None),
        ("010", 8),
        ("0o10", 8),
        ("0x1F", 31),
        ("0b101", 5),
        ("1_000", 1000),
        ("-7", -7),
        ("1.10", 1.1),
        ("1e3", 1000.0),
        ("!!str 80", "80"),
        ("!!int '80'", 80),
        ("10:20", "10:20"),
        ("2024-05-01", "2024-05-01"),
        ("08", 8.0),
        ("1.2.3", "1.2.3"),
        ("fd00::1", "fd00::1"),
        ("0x_", "0x_"),
        ("=", "="),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_plain_scalars_are_read_as_kubectl_reads_them(written: str, meant: object) -> None:
    assert read(f"a: {written}\n") == [{"a": meant}]


def test_aliases_and_merge_keys_unfold() -> None:
    text = "a: &a {v: 1, w: 2}\nb: *a\nc: {<<: *a, w: 3}\nd: {<<: [*a, {z: 4, v: 5}]}\n"
    assert read(text) == [
        {"a": {"v": 1, "w": 2}, "b": {"v": 1, "w": 2}, "c": {"v": 1, "w": 3}, "d": {"v": 1, "w": 2, "z": 4}}
    ]


def test_an_alias_does_not_reach_into_another_document() -> None:
    findings = Findings("a.yaml")
    assert len(list(documents("a: &a 1\n---\nb: *a\n", findings))) == 1
    assert str(findings.errors[0]).startswith("a.yaml:3:4: `*a` refers to `&a`")


def test_nesting_that_would_kill_the_parser_is_refused() -> None:
    assert "nested more than" in wrong("[" * 60_000)
    assert "nested more than" in wrong("- " * 60_000 + "x")


def test_documents_before_the_broken_place_are_still_read() -> None:
    findings = Findings("a.yaml")
    assert [plain(value) for value in documents("a: 1\n---\nb: [\n", findings)] == [{"a": 1}]
    assert len(findings.errors) == 1


def test_a_message_stays_on_one_line_whatever_the_text_holds() -> None:
    findings = Findings("a.yaml")
    findings.wrong((1, 2), "`a\nb\u2028\x1b[31m` is wrong")
    assert str(findings.errors[0]) == r"a.yaml:1:2: `a\nb\u2028\x1b[31m` is wrong"
