import { chmod, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { HostLogEntry } from '@loopatd/protocol'
import { startPodman } from './podman.ts'
import { buildSandboxImage, dropSandboxImage } from './sandbox-image.ts'
import { perlImage } from './shell-image.ts'
import { makeWorkspace, type TestWorkspace } from './workspace.ts'

/** Shell scripts of this host that loops may be granted. */
const PROGRAMS: Readonly<Record<string, string>> = {
  // Its arguments, each with a NUL behind it, and then its input.
  dump: `[ $# = 0 ] || printf '%s\\0' "$@"; cat`,
  both: 'echo to stdout; echo to stderr >&2',
  leave: 'exit "$1"',
  die: 'kill -"$1" $$; sleep 5',
  zeros: 'head -c "$1" /dev/zero',
  count: 'wc -c',
  place: 'pwd; ls',
  variables: 'env',
  wait: 'echo waiting; exec sleep "$1"',
  tree: 'setsid sleep "$1" & sleep "$1" & echo started; wait',
  trapped: `trap 'echo interrupted; exit 9' TERM; echo ready; while :; do sleep 0.1; done`,
  canary: 'touch "$1"',
}

/** A workspace with an image that has perl, and programs of the host outside of it that every loop might be granted. */
export interface HostCommands extends AsyncDisposable {
  readonly workspace: TestWorkspace
  /** Directory of the programs. */
  readonly bin: string
  /** Runs a script in a loop. @returns how it ended, and what it wrote */
  inside(loop: string, script: string, input?: string | Buffer): ReturnType<TestWorkspace['loopctl']>
  /** Adds a program. @returns its path */
  program(name: string, script: string): Promise<string>
  /** The whole log of host commands of a loop, oldest first. */
  log(loop: string): Promise<HostLogEntry[]>
}

/**
 * @param config further lines of `[host]`
 * @param image which one loops have; the sandbox image takes minutes to build, once for all files of a run
 */
export async function hostCommands({
  config = '',
  image = 'tiny',
}: {
  readonly config?: string
  readonly image?: 'tiny' | 'sandbox'
} = {}): Promise<HostCommands> {
  const workspace = await makeWorkspace({ image: false })
  const bin = join(workspace.directory, 'host-bin')
  await mkdir(bin)
  const program = async (name: string, script: string) => {
    const path = join(bin, name)
    await writeFile(path, `#!/bin/sh\n${script}\n`)
    await chmod(path, 0o755)
    return path
  }
  for (const [name, script] of Object.entries(PROGRAMS)) await program(name, script)
  const host = `[host]\npath = ["${bin}", "/usr/bin", "/bin"]\n${config}`
  const tag = `localhost/loopat-test-perl:${process.pid}`
  await writeFile(join(workspace.home, 'config.toml'), image === 'tiny' ? `image.name = "${tag}"\n${host}` : host)
  if (image === 'tiny') await importTiny(tag)
  else await buildSandboxImage(workspace)
  return {
    workspace,
    bin,
    program,
    inside: (loop, script, input) =>
      workspace.loopctl(['exec', '--shell', script, loop], input === undefined ? {} : { input }),
    log: async (loop) => {
      const lines = await workspace.ok('host', 'log', loop, '-n', '1000', '--json')
      return lines === '' ? [] : lines.split('\n').map((line): HostLogEntry => JSON.parse(line))
    },
    [Symbol.asyncDispose]: async () => {
      const loops = await workspace.json<{ id: string }[]>('ls', '--all')
      if (loops.length > 0) await workspace.ok('rm', '--force', ...loops.map(({ id }) => id))
      if (image === 'sandbox') await dropSandboxImage(workspace)
      if (image === 'tiny') await workspace.engine.image.untag(tag)
      await workspace[Symbol.asyncDispose]()
    },
  }
}

/** Imports the tiny image with perl. */
async function importTiny(tag: string): Promise<void> {
  await using podman = await startPodman()
  await perlImage(podman.engine, tag)
}
