"""Commands of other programs, written after a look at the table."""

from ipaddress import ip_address

import pytest

from vallum.lab.bench.damage import KINDS, Damage

VICTIM = ip_address("10.44.1.20")
LISTING = """\
table inet vallum { # handle 3
	chain judge { # handle 1
		type filter hook postrouting priority srcnat - 10; policy accept;
		goto b_anew # handle 40
	}

	chain a_v4o { # handle 7
		ip daddr @a_isolated_in4 jump a_pod_in4o # handle 8
	}

	chain b_v4o { # handle 17
		ip saddr @b_isolated_eg4 jump b_pod_eg4o # handle 50
		ip daddr @b_isolated_in4 jump b_pod_in4o # handle 51
	}
}
"""
WORDS = {
    "flush ruleset": "flush ruleset",
    "delete table": "delete table inet vallum",
    "flush chain": "flush chain inet vallum judge",
    "delete rule": "delete rule inet vallum b_v4o handle 51",
    "delete element": "delete element inet vallum b_isolated_in4 { 10.44.1.20 }",
}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_command_hits_the_generation_in_force(kind: Damage):
    assert " ".join(kind.command(LISTING, VICTIM)) == WORDS[kind.name]


def test_a_table_of_another_layout_is_said_and_not_hit_somewhere():
    rule = next(kind for kind in KINDS if kind.name == "delete rule")
    with pytest.raises(AssertionError, match="points at the generation"):
        rule.command("table inet vallum {\n}\n", VICTIM)
