"""The syntax of names, labels, addresses and ports, as the API server has it, and near misses."""

import pytest

from vallum.sources import syntax


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (syntax.short_name, ["a", "a-1", "1a", "a" * 63], ["", "-a", "a-", "A", "a.b", "a_b", "a" * 64, "a\n"]),
        (syntax.long_name, ["a.b-c.d", "a" * 253], ["", ".a", "a..b", "A.b", "a-.b", "a" * 254]),
        (
            syntax.label_key,
            ["app", "a_b.C-d", "app.kubernetes.io/name", "a" * 63],
            ["", "/a", "a/", "A.b/c", "a/b/c", "-a", "a" * 64, "é"],
        ),
        (syntax.annotation_key, ["app", "Example.com/Thing"], ["", "a b"]),
        (syntax.label_value, ["", "a", "A_b.c-9", "a" * 63], ["-a", "a-", "a b", "a/b", "a" * 64, "é"]),
        (syntax.port_name, ["http", "a", "1a", "a-b", "a" * 15], ["", "80", "a--b", "-a", "A", "a" * 16, "a_b"]),
        (
            syntax.address,
            ["10.44.1.5", "fd44::5"],
            ["", "10.44.1", "010.1.1.1", "10.1.1.1/24", "fe80::1", "::", "0.0.0.0", "224.0.0.1", "::1", "fd00::1%e"],
        ),
        (
            syntax.cidr,
            ["0.0.0.0/0", "::/0", "10.1.2.3/32", "fd00::/8"],
            ["", "10.0.0.0", "10.0.0.0/33", "10.0.0.0/08", "10.0.0.0/", "10.0.0.1/8", "::ffff:1.0.0.0/104", "a/8"],
        ),
        (syntax.local_addresses, ["", "10.0.0.1", "10.0.0.1, fe80::1"], ["10.0.0.1,", "a", ","]),
        (syntax.time, ["2024-05-01T12:00:00Z", "2024-05-01T12:00:00.5+02:00"], ["", "2024-05-01", "now"]),
    ],
)
def test_a_check_passes_good_values_and_says_what_is_wrong_with_bad_ones(
    check: syntax.Check, good: list[str], bad: list[str]
) -> None:
    assert {text: check(text) for text in good} == dict.fromkeys(good)
    assert [text for text in bad if check(text) is None] == []


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("podselector", "podSelector"),
        ("podSelecotr", "podSelector"),
        ("podSelectors", "podSelector"),
        ("prot", "port"),
        ("pots", "ports"),
        ("selector", None),
        ("", None),
        ("host", None),
    ],
)
def test_the_nearest_word_is_at_most_two_slips_away(word: str, meant: str | None) -> None:
    assert syntax.nearest(word, ["podSelector", "port", "ports", "endPort"]) == meant
