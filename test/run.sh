#!/bin/sh
# npm test: lint, types, build, then the suites, those on a real rootless podman included; nothing is skipped. What takes
# long is in npm run test:long.
#
#   npm test [-- PATH... and other words for vitest]
#
# As root (a bare machine, CI) it prepares the host, runs the suites as a throw-away user, and takes that user away
# again with everything it started and stored: podman never runs as root, and tests of permissions mean something.
set -eu
cd "$(dirname "$0")/.."
. systemd/lib.sh
. test/lib.sh

prepare_tests
say "lint"
npm run --silent lint
say "types and build"
npm run --silent typecheck

if is_root; then
  make_test_user
  boot_bed
  as_test_user sh test/suites.sh "unit host podman${bed:+ systemd}" "$@"
else
  no_bed "booting one for a test needs root"
  sh test/suites.sh 'unit host podman' "$@"
fi
