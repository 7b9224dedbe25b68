"""Plants each bug of the lists beside it in a copy of the code and sees whether a test notices: `make mutants`.

The deciding tests run quickest first: the cases, the file or folder that mirrors the mutant's, the text of the API,
the rest of the pure ones, and packets for what survived those. Ends with 1 where one survives or cannot be planted.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CODE = ROOT / "src"
PATIENCE = 400
"""Seconds for one run of tests; a bug may as well make them endless."""

CASES = "tests/conformance/test_cases.py"
TEXT = "tests/conformance/test_apitext.py"
REST = (
    "tests/policy",
    "tests/sources",
    "tests/agent/test_world.py",
    "tests/analysis",
    "tests/dataplane",
    "tests/flows",
    "tests/ipam",
)
PACKETS = (
    "tests/dataplane",
    CASES,
    "tests/conformance/test_paths.py",
    "tests/conformance/test_random_worlds.py",
)
_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Mutant:
    """A bug: one place in a file, and what stands there instead. `story`: who had it, or which rule it breaks."""

    name: str
    story: str
    file: str
    old: str
    new: str

    @property
    def path(self) -> Path:
        """The file in this tree."""
        return CODE / "vallum" / self.file

    def problem(self) -> str | None:
        """Why it cannot be planted, None where it can."""
        if not self.path.exists():
            return f"there is no {self.file}"
        count = self.path.read_text(encoding="utf-8").count(self.old)
        return None if count == 1 else f"its text stands {count} times in {self.file}, not once"

    def plant(self, code: Path) -> None:
        """Change a copy of the code."""
        file = code / "vallum" / self.file
        file.write_text(file.read_text(encoding="utf-8").replace(self.old, self.new), encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of a mutant. `killer`: the test that failed, empty for one that survived."""

    name: str
    killer: str
    seconds: float


def mutants() -> list[Mutant]:
    """All lists, in the order of their files."""
    return [
        Mutant(**entry)
        for path in sorted(HERE.glob("*.toml"))
        for entry in tomllib.loads(path.read_text(encoding="utf-8"))["mutant"]
    ]


def fate(mutant: Mutant | None) -> Fate:
    """Plant it in a copy and run the tests until one fails. None: the code as it is, in which none may fail."""
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="vallum-mutant-") as folder:
        code = Path(folder) / "src"
        shutil.copytree(CODE, code, ignore=shutil.ignore_patterns("__pycache__"))
        if mutant:
            mutant.plant(code)
        killer = _foreign(code) or next(filter(None, (_failure(code, words) for words in _stages(mutant))), "")
    return Fate(mutant.name if mutant else "(the code as it is)", killer, time.monotonic() - begin)


def _stages(mutant: Mutant | None) -> Iterator[tuple[str, ...]]:
    """The tests to run, a pytest run each: what is not needed is not even collected."""
    file = Path("tests", mutant.file) if mutant else Path("none")
    mirrors = (file.with_name(f"test_{file.name}"), file.parent) if mutant else ()
    first = tuple(str(path) for path in mirrors if (ROOT / path).exists())[:1]
    pure = "-m", "not packets"
    yield (*pure, CASES, *first)
    yield (*pure, TEXT)
    yield (*pure, *REST)
    at_work = mutant is not None and mutant.file.startswith("cni/")
    yield ("-m", "packets", *(("tests/cni",) if at_work else PACKETS))


def _failure(code: Path, words: tuple[str, ...]) -> str:
    """The first test that fails on this code, empty where all pass."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "unshrunk", *words]
    environment = os.environ | {
        "PYTHONPATH": f"{code}:{HERE}",
        "HYPOTHESIS_STORAGE_DIRECTORY": str(code.parent / "hypothesis"),
    }
    try:
        run = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired:
        return f"no end after {PATIENCE} s"
    if run.returncode == 0:
        return ""
    found = _FAILED.search(run.stdout)
    if found is None:
        raise RuntimeError(f"pytest ended with {run.returncode}, and no test failed:\n{run.stdout}{run.stderr}")
    return found[1]


def _foreign(code: Path) -> str:
    """What Python would import instead of the copy, empty where it is the copy."""
    command = [sys.executable, "-c", "import vallum; print(vallum.__file__)"]
    environment = os.environ | {"PYTHONPATH": str(code)}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return "" if Path(run.stdout.strip()).is_relative_to(code) else f"importing {run.stdout.strip()}"


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="*", help="only mutants whose name or file contains one of these")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args()
    chosen = [
        one for one in mutants() if not asked.words or any(word in f"{one.file} {one.name}" for word in asked.words)
    ]
    if not chosen:
        sys.exit("mutants: no mutant has such a name or file")
    if unfit := [f"{one.name}: {problem}" for one in chosen if (problem := one.problem())]:
        sys.exit("mutants: these cannot be planted; write them anew where the code has moved\n  " + "\n  ".join(unfit))
    begin = time.monotonic()
    with ThreadPoolExecutor(asked.jobs) as pool:
        sound = pool.submit(fate, None)
        fates = [told(found) for found in pool.map(fate, chosen)]
    alive = [found.name for found in fates if not found.killer]
    say(f"{len(fates) - len(alive)} of {len(fates)} mutants killed in {time.monotonic() - begin:.0f} s")
    if sound.result().killer:
        say(f"but without any mutant {sound.result().killer} fails too, so this proves nothing")
    return 1 if alive or sound.result().killer else 0


def told(found: Fate) -> Fate:
    """The same, after a line about it."""
    say(f"{found.seconds:5.1f} s  {found.name}: {f'killed by {found.killer}' if found.killer else 'SURVIVED'}")
    return found


def say(line: str) -> None:
    """A line on the screen at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
