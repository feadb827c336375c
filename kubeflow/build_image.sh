#!/bin/sh
# Build an image of Edgemill, optionally with a project.
#
#   kubeflow/build_image.sh [--tag NAME] [--project FOLDER] [--base IMAGE | --debootstrap]
#
#   --tag          Name of the image [edgemill:dev].
#   --project      Folder with a pipeline file, its task, and its data; it becomes /project in the image.
#   --base         Base image [docker.io/library/debian:bookworm-slim].
#   --debootstrap  Pull no image: make the base from Debian's packages, from the server in apt's sources. Needs root.
#
# Set DOCKER if the command is not `docker`. The build uses the certificates of a proxy from SSL_CERT_FILE; they do not
# become part of the image.
set -eu

docker=${DOCKER:-docker}
tag=edgemill:dev project= base=docker.io/library/debian:bookworm-slim bootstrap=
fail() { echo "build_image.sh: $1" >&2; exit 2; }
while [ $# -gt 0 ]; do
    case $1 in
        --tag) tag=${2:?}; shift 2 ;;
        --project) project=${2:?}; shift 2 ;;
        --base) base=${2:?}; shift 2 ;;
        --debootstrap) bootstrap=yes; shift ;;
        -h | --help) sed -n '2,12s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) fail "there is no option $1; see --help" ;;
    esac
done
[ -z "$project" ] || [ -d "$project" ] || fail "there is no folder $project"
$docker version >/dev/null 2>&1 || fail "'$docker version' fails: install Docker and start it, or set DOCKER"

here=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM

if [ -n "$bootstrap" ]; then
    base=edgemill-base:bookworm
    "$here/kubeflow/debian_root.sh" bookworm "$work/root" python3,python3-venv,ca-certificates
    tar -C "$work/root" -c . | $docker import - "$base"
    rm -rf "$work/root"
fi

context=$work/context
mkdir -p "$context/source" "$context/project"
cp "$here/kubeflow/Containerfile" "$context/"
cp "$here/requirements/tfx-1.16.lock" "$context/lock"
for package in components pipelines kubeflow edgemill; do cp -R "$here/$package" "$context/source/"; done
[ -z "$project" ] || cp -R "$project/." "$context/project/"
find "$context" -name __pycache__ -prune -exec rm -rf {} +
# Everyone needs read access: the container's user does not exist on this machine.
chmod -R a+rX "$context"
[ -z "${SSL_CERT_FILE:-}" ] || cp "$SSL_CERT_FILE" "$context/ca.pem"

$docker build --network host --build-arg BASE="$base" --tag "$tag" --file "$context/Containerfile" "$context"
echo "built $tag"
