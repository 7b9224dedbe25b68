"""Which word was meant: one slip away, and never one that is a name of its own."""

import pytest

from vallum.analysis.lint.spelling import Spelling

KNOWN = ("web", "frontend", "app1", "tier", "a", "storage")


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("wbe", "web"),  # swapped
        ("frontent", "frontend"),  # changed
        ("storrage", "storage"),  # added
        ("strage", "storage"),  # left out
        ("Web", "web"),  # another case
        ("web", None),  # known
        ("app2", None),  # numbered, not mistyped
        ("b", None),  # too short to tell
        ("backend", None),  # another word
    ],
)
def test_the_nearest_word_is_one_slip_away(word: str, meant: str | None) -> None:
    assert Spelling(KNOWN).nearest(word) == meant
