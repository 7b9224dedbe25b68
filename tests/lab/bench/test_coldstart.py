"""What the bench of cold starts makes of its trials; the trials themselves need a cluster."""

from vallum.lab.bench.coldstart import GONE, KEPT, MEMORY, SECOND, Trial, judged, text

QUICK = Trial(from_start=700, from_list=200, worked=600, peak_mib=80)
SLOW = Trial(from_start=1200, from_list=600, worked=1100, peak_mib=80)


def test_one_slow_start_among_many_misses_the_goal_of_its_way_only() -> None:
    found = judged({KEPT: [QUICK] * 19 + [SLOW], GONE: [QUICK] * 20}, 10_000, 1_000)
    met = {(goal.goal.split(":")[0], goal.limit): goal.met for goal in found.goals}
    assert met == {(KEPT, SECOND): False, (KEPT, MEMORY): True, (GONE, SECOND): True, (GONE, MEMORY): True}


def test_a_row_has_the_usual_and_the_slowest_start_and_the_most_memory() -> None:
    (row,) = judged({KEPT: [QUICK, QUICK, SLOW]}, 10_000, 1_000).rows
    assert (row.from_start_p50_ms, row.from_start_max_ms, row.from_list_max_ms) == (700, 1200, 600)
    assert (row.trials, row.cpu_p50_ms, row.peak_mib) == (3, 600, 80)


def test_the_table_shows_every_way_and_goal() -> None:
    shown = text(judged({KEPT: [QUICK], GONE: [SLOW]}, 10_000, 1_000))
    assert shown.count(KEPT) == shown.count(GONE) == 3
    assert "10,000" in shown
    assert shown.count("not met") == 1
