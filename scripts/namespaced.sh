#!/bin/sh
# Runs a command where private namespaces can be had: as it is, or with sudo where that works without a password.
# Otherwise says why not and the cure, and ends with 1; with --or-without it says so and runs the command anyway. With
# --as-root real root is wanted, as nodes of a Kubernetes do.
# What root makes in the clone is given back to its owner.
set -eu
anyway= root=
case "${1:-}" in
--or-without) anyway=yes && shift ;;
--as-root) root=yes && shift ;;
esac
if [ -z "$root" ]; then
    reason=$(.venv/bin/python -c 'from vallum.kernel import sandbox; print(sandbox.probe() or "")')
else
    reason=
    [ "$(id -u)" = 0 ] || reason="this needs root: run it as root, or where sudo works without a password"
fi
[ -n "$reason" ] || exec "$@"
printf 'note: %s\n' "$reason" >&2
if [ "$(id -u)" != 0 ] && sudo -n true 2>/dev/null; then
    echo "note: using sudo, which works here without a password" >&2
    status=0
    sudo -n env PATH="$PATH" HOME="${HOME:-/}" PYTHONDONTWRITEBYTECODE=1 TERM="${TERM:-dumb}" \
        ${NO_COLOR+NO_COLOR="$NO_COLOR"} ${XDG_CACHE_HOME+XDG_CACHE_HOME="$XDG_CACHE_HOME"} \
        ${VALLUM_KUBE_LOGS+VALLUM_KUBE_LOGS="$VALLUM_KUBE_LOGS"} \
        ${VALLUM_KUBE_WIRING+VALLUM_KUBE_WIRING="$VALLUM_KUBE_WIRING"} \
        ${VALLUM_KUBE_PROXY+VALLUM_KUBE_PROXY="$VALLUM_KUBE_PROXY"} "$@" || status=$?
    sudo -n chown -R "$(id -u):$(id -g)" .hypothesis "${HOME:-/}/.cache/vallum" 2>/dev/null || true
    exit "$status"
fi
[ -n "$anyway" ] || exit 1
echo "note: going on without; what needs namespaces is skipped and named below" >&2
exec "$@"
