#!/bin/sh
# Runs projects of test/vitest.config.ts one after the other, as the current user, and prints one closing line.
#
#   sh test/suites.sh "PROJECT..." [WORDS FOR VITEST...]
#
# LOOPAT_TEST_WITHOUT is a pattern of files to leave out; test/vitest.config.ts reads it.
set -eu
cd "$(dirname "$0")/.."
projects=$1 status=0 complete=yes
shift
[ $# = 0 ] || { complete=no && set -- --passWithNoTests "$@"; }

# COMPLETE REPORT...: one closing line over vitest's JSON reports. A file that could not be loaded or set up counts as a
# failure, and so does a test that was skipped, unless the reader asked for a part of the suites only.
# shellcheck disable=SC2016 # JavaScript
SUM='
const [complete, ...files] = process.argv.slice(1)
let passed = 0
let failed = 0
for (const file of files) {
  const report = JSON.parse(require("node:fs").readFileSync(file, "utf8"))
  const isBroken = (t) => t.status === "failed" && t.assertionResults.every((a) => a.status !== "failed")
  passed += report.numPassedTests
  failed += report.numFailedTests + report.testResults.filter(isBroken).length
  if (complete === "yes" && report.numPendingTests > 0) {
    console.error(`${report.numPendingTests} tests were skipped`)
    failed += report.numPendingTests
  }
}
console.log(`${passed} passed, ${failed} failed`)
process.exitCode = failed === 0 ? 0 : 1'

reports=$(mktemp -d)
trap 'rm -rf "$reports"' EXIT
for project in $projects; do
  node_modules/.bin/vitest run --config test/vitest.config.ts --project "$project" \
    --reporter=default --reporter=json --outputFile.json="$reports/$project.json" \
    "$@" </dev/null || status=1
  [ -s "$reports/$project.json" ] || { echo "vitest ended early in project $project" >&2; exit 1; }
done
node -e "$SUM" "$complete" "$reports"/*.json || status=1
exit $status
