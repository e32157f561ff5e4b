#!/bin/sh
# npm test: lint, types, all suites.
set -eu
cd "$(dirname "$0")/.."
[ -d node_modules ] || npm ci
npm run lint
npm run typecheck
npx vitest run --config test/vitest.config.ts --project unit
