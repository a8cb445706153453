#!/bin/sh
# Starts a worker on a rented instance: fetches the bundle this template pins, checks it, installs
# its locked dependencies, and keeps the supervisor running. Everything else is Python.
# Needs REPORT_ADDR and MASTER_TOKEN (control plane), BUNDLE_SHA256 (template). What fails is told to
# the control plane and tried again. A virtual environment of the same lock is used again, so an
# image may bring one and an update of the code alone installs nothing.
set -u

home="${WORKSPACE_DIR:-/workspace}/ballast"
server=$(printf %s "${REPORT_ADDR:-}" | sed 's#//[^@/]*@#//#; s#/*$##')
bundle="${BUNDLE_SHA256:-}"
python="${PYTHON:-python3}"
again="${REPORT_EVERY:-30}"

[ -n "$server" ] || { echo "launch: REPORT_ADDR must be set" >&2; exit 2; }
[ -n "${MASTER_TOKEN:-}" ] || { echo "launch: MASTER_TOKEN must be set" >&2; exit 2; }

# The messages are fixed texts, so that no value can break the JSON; the token goes through stdin,
# not the command line.
tell() {
    echo "launch: $1" >&2
    printf '{"id":%s,"mtoken":"%s","version":"2.0.0","error_msg":"launch: %s"}' \
        "${CONTAINER_ID:-0}" "$MASTER_TOKEN" "$1" |
        curl -fsS -m 10 -H 'Content-Type: application/json' --data-binary @- \
            "$server/worker_status/" >/dev/null
    sleep "$again"
}

no() { why=$1; return 1; }

fetch() {
    new="$home/$bundle.new"
    rm -rf "$new" && mkdir -p "$new" || no "cannot write to WORKSPACE_DIR" || return
    curl -fsS -m 120 --retry 3 -o "$new.tar.gz" "$server/bundle/$bundle.tar.gz" ||
        no "the control plane does not have the worker bundle this template pins: publish it again" ||
        return
    echo "$bundle  $new.tar.gz" | sha256sum -c - >/dev/null ||
        no "the worker bundle is not the one this template pins: its hash differs" || return
    tar -xzf "$new.tar.gz" -C "$new" && rm "$new.tar.gz" && mv "$new" "$home/$bundle" ||
        no "the worker bundle cannot be unpacked: is the disk full?"
}

install() {
    "$python" -m venv --clear "$venv" ||
        no "no virtual environment: the image needs python3-venv" || return
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
        --require-hashes -r "$home/$bundle/requirements.lock" ||
        no "the locked dependencies cannot be installed: the instance's log says why" || return
    touch "$venv/.ready"
}

prepare() {
    [ ${#bundle} -eq 64 ] ||
        no "BUNDLE_SHA256 must be the 64 hex digits of the worker bundle" || return
    [ -d "$home/$bundle" ] || fetch || return
    lock=$(sha256sum <"$home/$bundle/requirements.lock" | cut -c -64)
    venv="$home/venv-$lock"
    [ -f "$venv/.ready" ] && "$venv/bin/python" -c '' && return
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        no "the image needs Python 3.11 or later as python3, or its path in PYTHON" || return
    install
}

until prepare; do
    tell "$why"
done
cd "$home/$bundle" || exit 1
STATE_DIR="${STATE_DIR:-$home}"
export STATE_DIR
# Whatever ends the supervisor, a second later there is another one. -E: no PYTHONPATH of the image.
n_short=0
while :; do
    began=$(date +%s)
    "$venv/bin/python" -E -m workers.pyworker.supervision.supervisor
    [ $(($(date +%s) - began)) -lt 10 ] && n_short=$((n_short + 1)) || n_short=0
    [ $n_short -lt 3 ] || tell "the supervisor keeps ending: the instance's log says why"
    sleep 1
done
