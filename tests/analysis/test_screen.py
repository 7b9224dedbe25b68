"""The quick verdict on few pods says what the compiler and the judge say, whichever policies isolate them."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from analysis.test_near import ANY_WORLD, with_rivals
from vallum.analysis.asked import Asked
from vallum.analysis.near import Question, side_of
from vallum.policy.ruleset import Way
from vallum.policy.verdict import Reason, Verdict

READ = frozenset({Reason.NOT_ISOLATED, Reason.RULE, Reason.ISOLATED})


def told(verdict: Verdict) -> list[tuple[Reason, object]]:
    sides = [side_of(verdict, way) for way in Way]
    return [(side.kind, side.policies if side.kind in READ else None) for side in sides]


@ANY_WORLD
@given(st.randoms(use_true_random=False))
def test_what_is_read_off_the_policies_is_what_the_compiler_makes_of_them(random: Random):
    for snapshot, probe in with_rivals(random, 20):
        question = Question(Asked(snapshot), probe)
        screened = question.screened(())
        assert screened is not None
        assert told(screened) == told(question.verdict()), probe
