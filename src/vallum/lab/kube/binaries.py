"""Kubernetes, etcd, cnitool and our probe, built from published Go modules into a cache outside the tree.

A build is known by what went into it (module files, sources, flags, Go's version) and is renamed into place when whole,
so one that was cut off never counts. Each file is checked against its SHA-256 before it is used.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vallum.model.errors import InputError

KUBERNETES = "v1.34.4"
"""As go.mod has it; kubelet 1.34 is the last to take cgroup v1 and containerd 1.6 without being told to."""

PLACES = ("/usr/local/go/bin", "/usr/lib/go/bin")
"""Where Go is looked for after PATH: its own installer tells people to put it into the first."""

_SOURCES = Path(__file__).parent / "go"
_SUMS = "SHA256SUMS"
_UNFINISHED = "unfinished-"
_OLDEST_GO = (1, 24)
_CURE = "install Go 1.24 or newer from https://go.dev/dl/ (/usr/local/go/bin is looked into as well)"
_RENAMED = {"server": "etcd"}


@dataclass(frozen=True, slots=True)
class Recipe:
    """One `go build`: the module's folder, what to build there, the commands that come out, and linker flags."""

    module: str
    packages: str
    commands: tuple[str, ...]
    linker: str


def _stamp() -> str:
    """Linker flags that tell the version; without them the server reports a template."""
    major, minor, _ = KUBERNETES.removeprefix("v").split(".")
    facts = {"gitVersion": KUBERNETES, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    places = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return " ".join(f"-X {place}.{name}={value}" for place in places for name, value in facts.items())


_KUBERNETES = Recipe(
    ".",
    "tool",
    (
        "cnitool",
        "etcd",
        "kube-apiserver",
        "kube-controller-manager",
        "kube-proxy",
        "kube-scheduler",
        "kubectl",
        "kubelet",
    ),
    f"-s -w {_stamp()}",
)
_PROBE = Recipe("probe", ".", ("probe",), "-s -w")


@dataclass(frozen=True, slots=True)
class Binaries:
    """Where the commands are."""

    kubernetes: Path
    probe: Path

    def path(self, name: str) -> str:
        """A command of Kubernetes, etcd or cnitool."""
        return str(self.kubernetes / name)


def build(announce: Callable[[str], object] = lambda _: None) -> Binaries:
    """What is in the cache, or made now: some ten minutes for the first time, then under a second.

    `announce` is told when it will take long. Raises InputError when there is no Go that can, and with the
    last words of one that could not.
    """
    go, version = _go()
    kubernetes, probe = (_made(recipe, go, version, announce) for recipe in (_KUBERNETES, _PROBE))
    return Binaries(kubernetes, probe / "probe")


def cache() -> Path:
    """The folder of all builds."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "vallum" / "kube"


def _made(recipe: Recipe, go: str, version: str, announce: Callable[[str], object]) -> Path:
    folder = cache() / f"{recipe.commands[-1]}-{_key(recipe, version)}"
    if _whole(folder):
        return folder
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _whole(folder):  # by somebody else meanwhile
            announce(f"building {', '.join(recipe.commands)} with {version} into {cache()}")
            _remade(folder, recipe, go)
    return folder


def _remade(folder: Path, recipe: Recipe, go: str) -> None:
    """Build beside the final place, then rename. What stands there, or was left by a build cut off, goes first."""
    for old in (folder, *cache().glob(f"{_UNFINISHED}*")):
        shutil.rmtree(old, ignore_errors=True)
    made = cache() / f"{_UNFINISHED}{folder.name}"
    made.mkdir()
    _compile(recipe, go, made)
    made.rename(folder)


def _compile(recipe: Recipe, go: str, into: Path) -> None:
    module = _SOURCES / recipe.module
    words = [go, "build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags", recipe.linker]
    environment = os.environ | {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "", "GOWORK": "off"}
    built = subprocess.run(
        [*words, "-o", f"{into}/", recipe.packages],
        cwd=module,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode != 0:
        last = (built.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise InputError("go build", f"{last}; the whole of it: cd {module} && go build {recipe.packages}")
    for name, ours in _RENAMED.items():
        if (into / name).exists():
            (into / name).rename(into / ours)
    sums = "".join(f"{_sha256(into / name)}  {name}\n" for name in recipe.commands)
    (into / _SUMS).write_text(sums, encoding="utf-8")


def _whole(folder: Path) -> bool:
    """Reports whether every command is there as it was built."""
    try:
        lines = (folder / _SUMS).read_text(encoding="utf-8").splitlines()
        return bool(lines) and all(
            _sha256(folder / name) == sum_ for sum_, name in (line.split("  ") for line in lines)
        )
    except (OSError, ValueError):
        return False


def _key(recipe: Recipe, version: str) -> str:
    digest = hashlib.sha256(f"{version}\0{recipe}\0{_RENAMED}\0".encode())
    for path in sorted((_SOURCES / recipe.module).glob("*")):
        if path.is_file():
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _go() -> tuple[str, str]:
    """The Go command and its version. Raises InputError with the cure."""
    go = shutil.which("go", path=":".join((os.environ.get("PATH", os.defpath), *PLACES)))
    if go is None:
        raise InputError("go", f"the test cluster is built from source and there is no Go; {_CURE}")
    asked = subprocess.run(
        [go, "env", "GOVERSION"],
        env=os.environ | {"GOTOOLCHAIN": "local"},
        capture_output=True,
        text=True,
        check=False,
    )
    version = asked.stdout.strip()
    if _number(version) < _OLDEST_GO:
        raise InputError(go, f"{version or asked.stderr.strip()} is too old; {_CURE}")
    return go, version


def _number(version: str) -> tuple[int, ...]:
    words = version.removeprefix("go").split(".")[:2]
    return tuple(int(word) for word in words if word.isdigit())
