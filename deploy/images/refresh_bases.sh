#!/usr/bin/env bash
# Fills the digests of bases.env with what the registries have under those tags today. Needs docker with buildx.
set -euo pipefail
cd "$(dirname "$0")"

for base in PYTHON TRITON; do
  image=$(sed -n "s/^${base}_IMAGE=//p" bases.env)
  digest=$(docker buildx imagetools inspect --format '{{.Manifest.Digest}}' "$image")
  [[ $digest =~ ^sha256:[0-9a-f]{64}$ ]] || { echo "refresh_bases.sh: $image has no digest: $digest" >&2; exit 1; }
  sed -i "s/^${base}_DIGEST=.*/${base}_DIGEST=$digest/" bases.env
  echo "$image $digest" >&2
done
