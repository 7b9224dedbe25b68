"""The lists of planted bugs stay true: each has its one place in the code still. Tests that kill: `make mutants`."""

import ast
from collections import Counter

import pytest

from mutants.run import CODE, Mutant, mutants

each_mutant = pytest.mark.parametrize("mutant", mutants(), ids=lambda mutant: mutant.name)


@each_mutant
def test_a_mutant_has_exactly_one_place_in_the_code_and_changes_what_it_means(mutant: Mutant):
    assert mutant.problem() is None
    before = mutant.path.read_text(encoding="utf-8")
    after = before.replace(mutant.old, mutant.new)
    assert ast.dump(ast.parse(after)) != ast.dump(ast.parse(before))


def test_there_are_at_least_forty_and_every_room_that_decides_has_some():
    rooms = Counter(mutant.file.split("/")[0] for mutant in mutants())
    assert rooms.total() >= 40
    assert set(rooms) >= {"model", "policy", "sources", "analysis", "dataplane", "agent", "flows"}
    assert all((CODE / "vallum" / room).is_dir() for room in rooms)


def test_no_two_mutants_have_one_name_and_each_has_a_story():
    names = Counter(mutant.name for mutant in mutants())
    assert set(names.values()) == {1}
    assert all(mutant.story for mutant in mutants())
