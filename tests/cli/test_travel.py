"""How packets travel is said in words of a command line, and understood as it was meant."""

from ipaddress import ip_network
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from vallum.agent.settings import Kube, Travel
from vallum.cli import agent
from vallum.cli.travel import Told, travel_options, words
from vallum.model.errors import InputError
from vallum.model.objects import Pool


def told(*line: str) -> Told:
    found: list[Told] = []

    @click.command()
    @travel_options
    def command(travel: Told) -> None:
        found.append(travel)

    command.main(list(line), standalone_mode=False)
    return found[0]


LINES = st.fixed_dictionaries(
    {
        "--encapsulation": st.sampled_from(["always", "cross-subnet", "never"]),
        "--vxlan-id": st.sampled_from(["1", "86", "4096"]),
        "--outer": st.sampled_from(["4", "6"]),
        "--mtu": st.sampled_from(["1280", "65535"]),
    }
)
FLAGS = st.sets(st.sampled_from(["--masquerade", "--no-vxlan-checksum", "--service-cidr=10.96.0.0/12"]))


@settings(max_examples=60)
@given(LINES, FLAGS)
def test_words_say_the_same_again(line: dict[str, str], flags: set[str]) -> None:
    first = told(*(word for pair in line.items() for word in pair), *sorted(flags), "--service-cidr", "fd01::/108")
    assert told(*words(first)) == first
    assert (first["mtu"], first["outer"]) == (int(line["--mtu"]), int(line["--outer"]))
    assert len(first["services"]) == 1 + ("--service-cidr=10.96.0.0/12" in flags)


def test_nothing_said_is_no_word() -> None:
    assert words(told()) == ()


def test_a_range_with_host_bits_is_refused_with_what_was_meant() -> None:
    with pytest.raises(InputError, match=r"^--service-cidr: 10.96.0.1/12 has host bits set; write 10.96.0.0/12"):
        told("--service-cidr", "10.96.0.1/12")


@pytest.mark.parametrize(
    ("line", "world", "wires", "masquerade"),
    [
        ((), Kube(), True, True),
        ((), Kube(), False, False),
        ((), Path("x"), True, False),
        (("--no-masquerade",), Kube(), True, False),
        (("--masquerade",), Path("x"), False, True),
    ],
)
def test_whoever_wires_the_pods_of_a_cluster_masquerades_unless_told_otherwise(
    line: tuple[str, ...], world: Path | Kube, wires: bool, masquerade: bool
) -> None:
    assert agent._travel(told(*line), world, wires=wires) == Travel(masquerade=masquerade)


def test_networks_that_are_known_at_the_start_are_refused_where_services_lie_in_them() -> None:
    travel = Travel(services=(ip_network("10.96.0.0/12"),))
    travel.check([Pool("fine", ip_network("10.44.0.0/16")), Pool("six", ip_network("fd00::/8"))])
    with pytest.raises(InputError, match=r"^Network blue cidr: its network 10.100.0.0/16 overlaps the service network"):
        travel.check([Pool("blue", ip_network("10.100.0.0/16"))])


@pytest.mark.parametrize("line", [["--mtu", "1000"], ["--outer", "5"], ["--vxlan-id", "0"], ["--encapsulation", "x"]])
def test_what_is_out_of_range_is_refused(line: list[str]) -> None:
    found = CliRunner().invoke(agent.command, ["--node", "n", "--source", "folder:x", *line])
    assert (found.exit_code, line[0] in found.output) == (2, True)
