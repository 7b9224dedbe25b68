"""Which kind of cluster the environment asks for, with no cluster."""

import pytest

from kube.wirings import CHAINS, MODES, OURS, Asked, asked


def test_nothing_said_is_ours_with_nftables() -> None:
    assert asked({}) == asked({"VALLUM_KUBE_WIRING": "", "VALLUM_KUBE_PROXY": ""}) == Asked(OURS, "nftables")


def test_each_variable_is_its_own_choice() -> None:
    assert asked({"VALLUM_KUBE_WIRING": "found"}) == Asked("found", "nftables")
    assert asked({"VALLUM_KUBE_WIRING": "chained", "VALLUM_KUBE_PROXY": "iptables"}) == Asked("chained", "iptables")


@pytest.mark.parametrize(("name", "value"), [("VALLUM_KUBE_WIRING", "bridge"), ("VALLUM_KUBE_PROXY", "ipvs")])
def test_a_kind_that_there_is_not_is_refused_with_those_that_there_are(name: str, value: str) -> None:
    with pytest.raises(pytest.UsageError, match=f"^{name} is one of .*, got '{value}'$"):
        asked({name: value})


def test_every_wiring_is_known_by_its_own_chain_of_plugins() -> None:
    assert CHAINS.keys() == {OURS, *MODES}
    assert len(set(CHAINS.values())) == len(CHAINS)
