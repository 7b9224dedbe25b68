"""The words of `vallum bench`."""

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner

from vallum.cli.bench import command
from vallum.lab.bench import ipam, latency, podstart, policy_cost, repair, restore, routes, source, throughput
from vallum.model.errors import InputError


@pytest.mark.parametrize("status", [0, 1])
@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("policy-cost", policy_cost),
        ("throughput", throughput),
        ("restore", restore),
        ("repair", repair),
        ("podstart", podstart),
        ("ipam", ipam),
        ("routes", routes),
    ],
)
def test_the_exit_status_is_the_measurements(
    monkeypatch: pytest.MonkeyPatch, name: str, module: ModuleType, status: int
):
    asked = []

    def run(*words: Any) -> int:
        asked.append(words[-3:-1])
        words[-1]("figures")
        return status

    monkeypatch.setattr(module, "run", run)
    done = CliRunner().invoke(command, [name, "--quick", "-o", "json"])
    assert (done.exit_code, done.output, asked) == (status, "figures\n", [(True, "json")])


def test_a_real_api_is_measured_when_it_is_named(monkeypatch: pytest.MonkeyPatch):
    asked = []
    monkeypatch.setattr(source, "run", lambda *words: asked.append(words[:3]) or 0)
    assert CliRunner().invoke(command, ["source", "--api", "config", "--quick"]).exit_code == 0
    assert CliRunner().invoke(command, ["source"]).exit_code == 0
    assert asked == [(True, Path("config"), "table"), (False, None, "table")]


def test_a_crowd_is_as_large_as_is_asked_for(monkeypatch: pytest.MonkeyPatch):
    asked = []
    monkeypatch.setattr(latency, "run", lambda *words: asked.append(words[:3]) or 0)
    for words in (["--pods", "500"], ["--quick"]):
        assert CliRunner().invoke(command, ["latency", *words]).exit_code == 0
    assert asked == [(False, 500, "table"), (True, None, "table")]


def test_help_says_what_is_measured_and_against_what():
    assert "Romana's measurement of 2016" in CliRunner().invoke(command, ["policy-cost", "--help"]).output
    assert "p99 below 100 ms" in CliRunner().invoke(command, ["restore", "--help"]).output


def test_a_measurement_that_there_is_not_is_refused_with_the_name():
    done = CliRunner().invoke(command, ["speed"])
    assert done.exit_code == 2
    assert "speed" in done.output


def test_without_the_shop_the_cure_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("vallum.cli.bench.__file__", str(tmp_path / "a/b/c/bench.py"))
    with pytest.raises(InputError, match="--world DIR"):
        CliRunner().invoke(command, ["restore"], catch_exceptions=False)
