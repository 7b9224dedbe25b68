#!/bin/sh
# Makes a clone ready: system packages by apt (only what is missing), uv from PyPI into .tools, the locked
# environment into .venv. Each step is skipped when its stamp says that it was done for just this input; stamps
# are written last, so a run that was cut off is taken up where it can be and redone where it cannot.
# Root is needed for apt alone. Never downloads a Python. With --kube: also what nodes of a real Kubernetes need.
set -eu
cd "$(dirname "$0")/.."
kube=${1:-}
umask 022
unset PYTHONHOME PYTHONPATH VIRTUAL_ENV
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

exec 3>&2 # what a trap says while a step's output goes to the log
say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&3; exit 1; }
trap 'fail "interrupted; run it again, it goes on from here"' INT TERM

# The first Python that is new enough, the plain name first.
find_python() {
    for name in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        found=$(command -v "$name") || continue
        if "$found" -I -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$found"
            return
        fi
    done
    fail "Python 3.11 or newer is needed and ${PYTHON:-python3} is" \
        "$(${PYTHON:-python3} -V 2>/dev/null || echo missing); on Ubuntu 22.04: sudo apt-get install python3.11"
}

# Debian packages that are missing here, found by what they bring and not by their names.
missing_packages() {
    command -v nft >/dev/null && "$python" -I -c 'import ctypes; ctypes.CDLL("libnftables.so.1")' 2>/dev/null ||
        echo nftables
    command -v ip >/dev/null || echo iproute2
    command -v cc >/dev/null || command -v gcc >/dev/null || command -v clang >/dev/null || echo gcc
    [ -e /usr/include/stdio.h ] || echo libc6-dev
    command -v clang >/dev/null || echo clang
    [ -e /usr/include/bpf/bpf_helpers.h ] || echo libbpf-dev
    [ -e "$tools/stamp" ] || "$python" -I -c 'import ensurepip, venv' 2>/dev/null ||
        "$python" -I -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'
}

missing_kube_packages() {
    command -v containerd >/dev/null && command -v ctr >/dev/null || echo containerd
    command -v runc >/dev/null || echo runc
    command -v openssl >/dev/null || echo openssl
    command -v iptables >/dev/null || echo iptables
    [ -x /usr/lib/cni/loopback ] || echo containernetworking-plugins
}

# Killed in the middle, dpkg may leave packages that look present and are not: the list is kept until it is done.
install_packages() {
    command="apt-get install -y --no-install-recommends $*"
    command -v apt-get >/dev/null ||
        fail "missing: $*. This machine has no apt-get; install what holds these under its own names"
    root=
    if [ "$(id -u)" != 0 ]; then
        root="sudo -n"
        $root true 2>/dev/null || fail "missing: $*. As root run: $command   (then run this again)"
    fi
    say "installing $* with apt-get"
    echo "$*" >.tools/packages
    run_apt "$@" </dev/null >"$log" 2>&1 ||
        fail "apt-get failed: $(grep -E '^[EW]:' "$log" | head -n 1). The rest is in $log"
    rm -f .tools/packages
}

run_apt() {
    [ -z "$(dpkg --audit)" ] || $root dpkg --configure -a # cut off earlier; apt refuses until then
    # The lists may be as old as the image, or absent; what they name may be gone from the mirror.
    $root apt-get -q=2 -o DPkg::Lock::Timeout=300 update &&
        $root env DEBIAN_FRONTEND=noninteractive apt-get -q=2 -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 \
            install -y --no-install-recommends "$@"
}

owned() { # a folder that another user made cannot be repaired from here
    [ ! -e "$1" ] || [ -w "$1" ] || fail "$1 belongs to $(stat -c %U "$1"); remove it: sudo rm -rf $PWD/$1"
}

hash_of() { cat "$@" | sha256sum | cut -c 1-16; }

install_uv() {
    want="$python $version $PWD $(hash_of scripts/uv.txt)"
    [ "$(cat "$tools/stamp" 2>/dev/null)" != "$want" ] || return 0
    say "installing $(grep -o '^uv==[0-9.]*' scripts/uv.txt) into .tools"
    rm -rf "$tools"
    "$python" -I -m venv "$tools" >"$log" 2>&1 || fail "$python could not make a venv: $(tail -n 1 "$log")"
    "$tools/bin/python" -I -m pip --quiet --disable-pip-version-check --no-cache-dir \
        install --only-binary :all: --require-hashes -r scripts/uv.txt </dev/null >"$log" 2>&1 ||
        fail "pip could not install uv: $(grep -i error "$log" | head -n 1). The rest is in $log"
    printf '%s\n' "$want" >"$tools/stamp"
}

sync_environment() {
    want="$python $version $PWD $(hash_of uv.lock pyproject.toml)"
    if [ -x .venv/bin/python ] && [ "$(cat .venv/stamp 2>/dev/null)" = "$want" ]; then
        return 0
    fi
    say "installing the locked environment into .venv ($version)"
    owned .venv
    [ ! -e .tools/unfinished ] || rm -rf .venv # killed in the middle: half a package is worse than none
    : >.tools/unfinished
    rm -f .venv/stamp
    UV_PYTHON="$python" UV_PYTHON_DOWNLOADS=never UV_PROJECT_ENVIRONMENT=.venv UV_NO_PROGRESS=1 \
        UV_CACHE_DIR="${UV_CACHE_DIR:-$PWD/.tools/cache}" \
        "$tools/bin/uv" sync --frozen --quiet </dev/null ||
        fail "uv could not install the environment; what it said stands above"
    printf '%s\n' "$want" >.venv/stamp
    rm -f .tools/unfinished
}

tools=.tools/uv
python=$(find_python)
version=$("$python" -I -V)
owned .
mkdir -p .tools 2>/dev/null || owned .tools
owned .tools
log=.tools/setup.log
exec 9<.tools
flock -n 9 || { say "another setup runs here, waiting for it" && flock 9; }
packages=$({ missing_packages; [ "$kube" != --kube ] || missing_kube_packages; [ ! -e .tools/packages ] || tr ' ' '\n' <.tools/packages; } | sort -u)
# shellcheck disable=SC2086 # a list of words
[ -z "$packages" ] || install_packages $packages
install_uv
sync_environment
