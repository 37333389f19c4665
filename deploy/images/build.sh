#!/usr/bin/env bash
# Builds the four images and pushes them where REGISTRY says; prints each with its digest, as the chart's values want it.
#   deploy/images/build.sh REGISTRY [TAG]         TAG is the version of pyproject.toml when absent
set -euo pipefail
cd "$(dirname "$0")/../.."
source deploy/images/bases.env

registry=${1:?"usage: deploy/images/build.sh REGISTRY [TAG]"}
tag=${2:-$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)}
for base in PYTHON TRITON; do
  digest=${base}_DIGEST
  [[ ${!digest} =~ ^sha256:[0-9a-f]{64}$ ]] || {
    echo "build.sh: ${base}_DIGEST in deploy/images/bases.env is empty; deploy/images/refresh_bases.py fills it" >&2
    exit 1
  }
done

mkdir -p build
for process in gateway worker trainer triton; do
  # what the chart asks of nodes (image.architecture), whatever this machine is
  docker buildx build . --platform linux/amd64 --file "deploy/images/$process.Dockerfile" --tag "$registry/waypost-$process:$tag" --push \
    --build-arg "PYTHON=$PYTHON_IMAGE@$PYTHON_DIGEST" --build-arg "TRITON=$TRITON_IMAGE@$TRITON_DIGEST" \
    --metadata-file "build/$process.json" >&2
  echo "$process: $registry/waypost-$process:$tag@$(sed -n 's/.*"containerimage.digest": "\(.*\)".*/\1/p' "build/$process.json")"
done
