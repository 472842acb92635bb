#!/bin/sh
# Builds every image: `deploy/images.sh [TAG]` makes orderonce/order-api:TAG and its siblings, with
# plain `docker build`, so that an engine without buildx will do. TAG is `dev` unless given.
# ORDERONCE_PYTHON_IMAGE names another base image, ORDERONCE_BUILD_ARGS adds flags for `docker build`.
set -eu
cd "$(dirname "$0")/.."
tag=${1:-${ORDERONCE_VERSION:-dev}}
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
log=$(mktemp)
trap 'rm -f "$log"' EXIT

for target in order-api executor ledger paper-exchange tools; do
    # shellcheck disable=SC2086  # flags, not one word
    if ! docker build -f deploy/Dockerfile --target "$target" -t "orderonce/$target:$tag" \
        --build-arg "PYTHON_IMAGE=${ORDERONCE_PYTHON_IMAGE:-python:3.11-slim-bookworm}" \
        --build-arg "VERSION=$tag" --build-arg "REVISION=$revision" \
        ${ORDERONCE_BUILD_ARGS:-} . >"$log" 2>&1; then
        cat "$log" >&2
        echo "images: orderonce/$target:$tag could not be built (see above)" >&2
        exit 1
    fi
    echo "images: orderonce/$target:$tag"
done
