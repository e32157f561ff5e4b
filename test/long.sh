#!/bin/sh
# npm run test:long: what takes long: faults, hostility, many images, random kills, fuzz, commands in great number, the
# shipped units' waits; with real rootless podman and systemd, as `npm test` has them.
#
#   npm run test:long [-- PATH... and other words for vitest]
#
# How long is long:                          default   what the project promises is shown by
#   LOOPAT_LONG_KILLS          random kills       40                 200
#   LOOPAT_LONG_IDLE_KILLS     among sleepers     15                  50
#   LOOPAT_LONG_WAKES          loops at once      50                  50
#   LOOPAT_LONG_HOST_RUNS      of the host         200                1000
#   LOOPAT_LONG_PODMAN_KILLS   under load         15                  50
#   LOOPAT_LONG_FRAMES         broken frames   40000              100000
#   LOOPAT_LONG_PARAMS         odd params       8000               20000
#   LOOPAT_LONG_EXECS          commands         1000               10000
#   LOOPAT_LONG_DEAF_SECONDS   unread output      20                  60
#   LOOPAT_LONG_CLIENTS        that vanish       100                 500
# Each suite prints its LOOPAT_LONG_SEED; set it to see the same again. Then the tests of commands run in images of other
# kinds, all that test/kinds.sh knows or those that LOOPAT_TEST_KINDS names; in none when it is empty.
set -eu
cd "$(dirname "$0")/.."
. systemd/lib.sh
. test/lib.sh

prepare_tests
build

part=$*
set -- sh test/suites.sh 'deep long' "$@"
# The throw-away user has a clean environment.
for figure in $(env | grep '^LOOPAT_LONG_[A-Z_]*=[0-9]*$'); do set -- "$figure" "$@"; done
if is_root; then
  make_test_user
  boot_bed
else
  bed=''
  no_bed "booting one for a test needs root"
fi
# Where no systemd is to be had, what needs it is left out, as was said.
[ -n "$bed" ] || set -- LOOPAT_TEST_WITHOUT='test/{long/systemd,systemd/place}.test.ts' "$@"
set -- env "$@"
run() { if is_root; then as_test_user "$@"; else "$@"; fi; }
run "$@"
[ -z "$part" ] && [ -n "${LOOPAT_TEST_KINDS-all}" ] || exit 0
# shellcheck disable=SC2086 # words
run sh test/kinds.sh ${LOOPAT_TEST_KINDS-}
