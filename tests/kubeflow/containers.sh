#!/bin/sh
# The container lane: build the image, and run a compiled pipeline whole under kfp's local Docker runner. No cluster.
#
# With a Docker daemon available it uses that one; as root, with dockerd installed, it starts a private one and ends it.
# DEBOOTSTRAP=1 pulls no image (kubeflow/build_image.sh --debootstrap)..
set -eu

cd "$(dirname "$0")/../.."
work=$(pwd)/build/containers
python=${PYTHON_IN_VENV:-.venv/bin/python}
mkdir -p "$work"

if ! docker version >/dev/null 2>&1; then
    command -v dockerd >/dev/null || { echo "containers.sh: no Docker daemon answers, and dockerd is not installed (Debian: apt-get install docker.io)" >&2; exit 2; }
    [ "$(id -u)" = 0 ] || { echo "containers.sh: no Docker daemon answers, and starting one needs root" >&2; exit 2; }
    # A socket's path may have 107 characters only.
    run=$(mktemp -d)
    DOCKER_HOST=unix://$run/docker.sock
    export DOCKER_HOST
    dockerd --data-root "$work/docker" --exec-root "$run/exec" --pidfile "$run/pid" --host "$DOCKER_HOST" \
        --iptables=false --bridge=none >"$work/dockerd.log" 2>&1 &
    daemon=$!
    trap 'kill "$daemon"; wait "$daemon" || true; umount "$run/exec/netns/default" 2>/dev/null || true; rm -rf "$run"' \
        EXIT INT TERM
    tries=0
    until docker version >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ $tries -le 60 ] || { echo "containers.sh: dockerd does not start; see $work/dockerd.log" >&2; exit 1; }
        sleep 1
    done
fi

"$python" -m tests.kubeflow.containers prepare "$work"
kubeflow/build_image.sh --tag edgemill:test --project "$work/project" ${DEBOOTSTRAP:+--debootstrap}
"$python" -m tests.kubeflow.containers run "$work"
# The nodes that use registries, in containers too.
EDGEMILL_TEST_IMAGE=edgemill:test "$python" -m pytest -rs tests/servers/kubeflow_registries.py
