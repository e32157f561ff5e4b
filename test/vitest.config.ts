import { tmpdir } from 'node:os'
import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

const root = fileURLToPath(new URL('..', import.meta.url))

/** Tests read the sources, so that a failing line is the line that was written. Programs that tests start (loopatd, loopctl) are the built ones. */
const alias = [
  { find: /^@loopatd\/protocol$/, replacement: `${root}protocol/index.ts` },
  { find: /^@loopatd\/protocol\/(.+)$/, replacement: `${root}protocol/$1.ts` },
  { find: /^@loopatd\/client$/, replacement: `${root}client/index.ts` },
]

/** Suites that start programs of this host (git, shells, daemons), or wait for real time to go by. No podman. */
const host = [
  'test/client/{bin/loopctl,cli/completion,cli/log-file,cli/command/daemon,spawn-daemon}.test.ts',
  'test/contract/fake.test.ts',
  'test/daemon/engine/podman/{api,event,process-group,silence}.test.ts',
  'test/daemon/exec/{agent-text,exec-service,job-program,job-service,job-watch}.test.ts',
  'test/daemon/git/**/*.test.ts',
  'test/daemon/host/{forwarder,host-service,runner-*}.test.ts',
  'test/daemon/lock.test.ts',
  'test/daemon/loop/launcher.test.ts',
  'test/daemon/server/{hostile-peer,raw-stream}.test.ts',
]

/** Of those that need podman or systemd the ones that take long: faults, hostility, limits, builds, many images. `npm run test:long` */
const deep = [
  'test/e2e/{any-image,bad-input,crash,event,exec-{hostile,limit,same}}.test.ts',
  'test/e2e/{host-{end,hostile,terminal},idle-{alone,fault},package,readme,uninstall,update}.test.ts',
  'test/podman/{bench,engine-build,fault,image,upgrade,vault}.test.ts',
  'test/systemd/place.test.ts',
]

/** Suites that need a real rootless podman, see `test/harness`, or the machine for themselves: one after the other. */
const podman = [
  'test/podman/**/*.test.ts',
  'test/e2e/**/*.test.ts',
  'test/contract/podman.test.ts',
  'test/daemon/exec/agent-service.test.ts',
]

/** Suites that need a real `systemd --user`; see `test/harness/systemd-bed.sh`. */
const systemd = ['test/systemd/**/*.test.ts']

/** Suites that take long: random kills, fuzz, thousands of commands. `npm run test:long` */
const long = ['test/long/**/*.test.ts']

/** Files to leave out of whatever runs: vitest's own `--exclude` does not reach projects. */
const { LOOPAT_TEST_WITHOUT = '' } = process.env
const without = LOOPAT_TEST_WITHOUT === '' ? [] : [LOOPAT_TEST_WITHOUT]

export default defineConfig({
  root,
  resolve: { alias },
  cacheDir: `${tmpdir()}/loopatd-vite-${process.getuid?.()}`,
  test: {
    projects: [
      {
        extends: true,
        test: {
          name: 'unit',
          include: ['test/**/*.test.ts'],
          exclude: [...host, ...podman, ...systemd, ...deep, ...long, ...without],
          testTimeout: 10_000,
          // Nothing of ours has state in a module, so files can share what is loaded, which is most of their time.
          isolate: false,
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        // They wait more than they work, but not much more.
        test: {
          name: 'host',
          include: host,
          exclude: without,
          maxWorkers: 2,
          testTimeout: 20_000,
          sequence: { groupOrder: 1 },
        },
      },
      {
        extends: true,
        test: {
          name: 'podman',
          include: podman,
          exclude: [...deep, ...without],
          globalSetup: 'test/harness/sandbox-image.ts',
          fileParallelism: false,
          sequence: { groupOrder: 2 },
          testTimeout: 120_000,
          hookTimeout: 300_000,
        },
      },
      {
        extends: true,
        test: {
          name: 'systemd',
          include: systemd,
          exclude: [...deep, ...without],
          fileParallelism: false,
          sequence: { groupOrder: 3 },
          testTimeout: 120_000,
          hookTimeout: 60_000,
        },
      },
      {
        extends: true,
        test: {
          name: 'deep',
          include: deep,
          exclude: without,
          globalSetup: 'test/harness/sandbox-image.ts',
          fileParallelism: false,
          sequence: { groupOrder: 4 },
          testTimeout: 120_000,
          hookTimeout: 300_000,
        },
      },
      {
        extends: true,
        test: {
          name: 'long',
          include: long,
          exclude: without,
          globalSetup: 'test/harness/sandbox-image.ts',
          fileParallelism: false,
          sequence: { groupOrder: 5 },
          testTimeout: 3_600_000,
          hookTimeout: 300_000,
        },
      },
    ],
  },
})
