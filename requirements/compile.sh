#!/usr/bin/env bash
# Rewrite the two locks from their .in files: versions and hashes, no index addresses.
set -euo pipefail
cd "$(dirname "$0")"
for name in runtime dev; do
  uv pip compile --quiet --python-version 3.11 --generate-hashes --no-emit-index-url \
    --no-header --no-annotate "$name.in" --output-file "$name.txt"
done
