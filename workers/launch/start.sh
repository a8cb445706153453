#!/bin/sh
# Starts a worker on a rented instance: fetches the bundle this deployment pinned, checks it,
# installs its locked dependencies, and keeps the supervisor running. Everything else is Python.
# Needs REPORT_ADDR, MASTER_TOKEN, BUNDLE_SHA256 (from the template and the control plane).
set -u

home="${WORKSPACE_DIR:-/workspace}/ballast"
server=$(printf %s "${REPORT_ADDR:-}" | sed 's#//[^@/]*@#//#; s#/*$##')
bundle="${BUNDLE_SHA256:-}"

# The messages are fixed texts, so that no value can break the JSON; the token goes through stdin,
# not the command line.
fail() {
    echo "launch: $1" >&2
    while :; do
        printf '{"id":%s,"mtoken":"%s","version":"2.0.0","error_msg":"launch: %s"}' \
            "${CONTAINER_ID:-0}" "${MASTER_TOKEN:-}" "$1" |
            curl -fsS -m 10 -H 'Content-Type: application/json' --data-binary @- \
                "$server/worker_status/" >/dev/null
        sleep "${REPORT_EVERY:-30}"
    done
}

[ -n "$server" ] || { echo "launch: REPORT_ADDR must be set" >&2; exit 2; }
[ -n "${MASTER_TOKEN:-}" ] || { echo "launch: MASTER_TOKEN must be set" >&2; exit 2; }
[ ${#bundle} -eq 64 ] || fail "BUNDLE_SHA256 must be the 64 hex digits of the worker bundle"
python="${PYTHON:-python3}"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "the image needs Python 3.11 or later as python3 (or name one in PYTHON)"

dir="$home/$bundle"
if [ ! -f "$dir/.ready" ]; then
    rm -rf "$dir" && mkdir -p "$dir" && cd "$dir" || fail "cannot write to WORKSPACE_DIR"
    curl -fsS -m 120 --retry 5 -o bundle.tar.gz "$server/bundle/$bundle.tar.gz" ||
        fail "the worker bundle cannot be fetched"
    echo "$bundle  bundle.tar.gz" | sha256sum -c - >/dev/null ||
        fail "the worker bundle is not the one this template pins"
    tar -xzf bundle.tar.gz && rm bundle.tar.gz || fail "the worker bundle cannot be unpacked"
    "$python" -m venv venv || fail "no virtual environment: install python3-venv in the image"
    venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
        --require-hashes -r requirements.lock ||
        fail "the locked dependencies cannot be installed"
    touch .ready
fi
cd "$dir" || exit 1
STATE_DIR="${STATE_DIR:-$home}"
export STATE_DIR
# Whatever ends the supervisor, a second later there is another one.
while :; do
    venv/bin/python -m workers.pyworker.supervisor
    sleep 1
done
