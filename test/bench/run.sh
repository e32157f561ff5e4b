#!/bin/sh
# npm run bench: measures loopatd side by side with what it is made of, in one run. Prepares itself as npm test does.
#
#   npm run bench [-- --quick] [--only REGEX] [--json FILE]
#
# --quick   two rounds of everything, to see that it works; its figures mean little
# --only    rows whose "group: name" matches
# --json    writes all figures to FILE
#
# The table goes to standard output, everything else to standard error.
set -eu
called_from=${INIT_CWD-$PWD}
cd "$(dirname "$0")/../.."
. systemd/lib.sh
. test/lib.sh

only='' quick='' json=''
while [ $# -gt 0 ]; do
  case $1 in
    --quick) quick=yes ;;
    --only) only=${2:?--only needs a regular expression} && shift ;;
    --json) json=${2:?--json needs a file} && shift ;;
    *) die "unknown option $1; usage: npm run bench [-- --quick] [--only REGEX] [--json FILE]" ;;
  esac
  shift
done
set -- node test/harness/start.mjs test/bench/main.ts ${quick:+--quick} ${only:+"--only=$only"}
if [ -n "$json" ]; then
  case $json in /*) ;; *) json=$called_from/$json ;; esac
  exec 3>"$json"
  set -- "$@" --json-fd=3
fi

exec 4>&1 1>&2
prepare_tests
build
# shellcheck disable=SC2016 # expanded by the shell that runs it
TO_TABLE='exec "$@" >&4'
if is_root; then with_test_user sh -c "$TO_TABLE" sh "$@"; else sh -c "$TO_TABLE" sh "$@"; fi
