#!/bin/sh
# Runs the tests of commands in images of other kinds than the one of `npm test`, the current user's podman: with other
# shells, as Alpine is, and with nothing that an agent needs.
#
#   sh test/kinds.sh [KIND...]
#
# LOOPAT_TEST_PROJECTS names the projects of test/vitest.config.ts that they are taken from; default: podman and deep.
set -eu
cd "$(dirname "$0")/.."
[ $# != 0 ] || set -- dash bash alpine engine
for kind in "$@"; do
  echo "==> commands in an image of the kind $kind"
  LOOPAT_TEST_IMAGE=$kind sh test/suites.sh "${LOOPAT_TEST_PROJECTS:-podman deep}" test/e2e/exec
done
