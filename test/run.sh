#!/bin/sh
# npm test: lint, types, build, then every suite, those on a real rootless podman included; nothing is skipped.
#
#   npm test [-- PATH... and other words for vitest]
#
# As root (a bare machine, CI) it prepares the host, runs the suites as a throw-away user, and takes that user away
# again with everything it started and stored: podman never runs as root, and tests of permissions mean something.
set -eu
cd "$(dirname "$0")/.."
. systemd/lib.sh
. test/lib.sh

# COMPLETE REPORT...: one closing line over vitest's JSON reports. A file that could not be loaded counts as one failure,
# and so does a test that was skipped, unless the reader asked for a part of the suites only.
# shellcheck disable=SC2016 # JavaScript
SUM='
const [complete, ...files] = process.argv.slice(1)
let passed = 0
let failed = 0
for (const file of files) {
  const report = JSON.parse(require("node:fs").readFileSync(file, "utf8"))
  const unloaded = report.testResults.filter((t) => t.status === "failed" && t.assertionResults.length === 0).length
  passed += report.numPassedTests
  failed += report.numFailedTests + unloaded
  if (complete === "yes" && report.numPendingTests > 0) {
    console.error(`${report.numPendingTests} tests were skipped`)
    failed += report.numPendingTests
  }
}
console.log(`${passed} passed, ${failed} failed`)
process.exitCode = failed === 0 ? 0 : 1'

# Runs the two projects one after the other in the current directory, as the current user; "$@" goes to vitest.
# shellcheck disable=SC2016 # expanded by the shell that runs it
SUITES='
  sum=$1 status=0 complete=yes
  shift
  [ $# = 0 ] || { complete=no && set -- --passWithNoTests "$@"; }
  reports=$(mktemp -d)
  trap "rm -rf \"$reports\"" EXIT
  for project in unit podman; do
    node_modules/.bin/vitest run --config test/vitest.config.ts --project "$project" \
      --reporter=default --reporter=json --outputFile.json="$reports/$project.json" "$@" </dev/null || status=1
    [ -s "$reports/$project.json" ] || { echo "vitest ended early in project $project" >&2; exit 1; }
  done
  node -e "$sum" "$complete" "$reports/unit.json" "$reports/podman.json" || status=1
  exit $status'

# Colour only for a terminal; a CI environment alone is none.
[ -t 1 ] || export NO_COLOR=1
need_node
sh systemd/prepare-host.sh --tests
install_dependencies
say "lint"
npm run --silent lint
say "types and build"
npm run --silent typecheck

if is_root; then with_test_user sh -c "$SUITES" suites "$SUM" "$@"; else sh -c "$SUITES" suites "$SUM" "$@"; fi
