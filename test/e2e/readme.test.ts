import { execFile } from 'node:child_process'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { skipsPodman } from '../harness/podman.ts'
import { buildSandboxImage, dropSandboxImage } from '../harness/sandbox-image.ts'
import { makeWorkspace, type TestWorkspace } from '../harness/workspace.ts'

const run = promisify(execFile)

/** The commands of a section, in order: every line of its shell blocks. */
function commandsOf(readme: string, heading: string): string[] {
  const section = readme.split(/^## /m).find((part) => part.startsWith(heading)) ?? ''
  return [...section.matchAll(/^```sh\n(.*?)^```$/gms)].flatMap(([, block = '']) => block.trim().split('\n'))
}

const README = await readFile(fileURLToPath(new URL('../../README.md', import.meta.url)), 'utf8')
const TOUR = commandsOf(README, 'A tour')

/** What some of them must print. */
const EXPECTED: Readonly<Record<string, RegExp>> = {
  'loopctl ls': /^tour\s+running\s/m,
  'loopctl exec tour -- git status --short --branch': /^## loop\/a-first-loop-[0-9a-f]{6}$/m,
  "echo 'uname -s; id -un; pwd' | loopctl exec tour -- sh": /^Linux\nloopat\n\/loopat\/loop\/[0-9a-f-]+\/workdir$/m,
  "loopctl exec --shell 'seq 5 | tail -n 1' tour": /^5$/m,
  'loopctl exec --timeout 30s --max-output 100 tour -- seq 100000': /lines, .* bytes left out; .*100000$/ms,
  'loopctl exec --json tour -- uname': /"stdout": "Linux\\n"/,
  'loopctl exec tour -- cat /home/loopat/note': /^remember$/m,
  'loopctl show tour --json': /"state": "running"/,
  'loopctl rpc --discover': /"openrpc": "1\./,
  'loopctl rm tour': /^tour$/m,
}

describe.skipIf(skipsPodman())('the tour in the README', () => {
  let workspace: TestWorkspace
  let repository: string

  beforeAll(async () => {
    workspace = await makeWorkspace()
    // The tour is for the sandbox image, not for the tiny one.
    await writeFile(join(workspace.home, 'config.toml'), '')
    repository = join(dirname(workspace.home), 'repository')
    await mkdir(repository)
    const identity = ['-c', 'user.name=me', '-c', 'user.email=me@localhost']
    await run('git', ['init', '--quiet', '-b', 'main', repository])
    await run('git', ['-C', repository, ...identity, 'commit', '--quiet', '--allow-empty', '-m', 'first'])
    await buildSandboxImage(workspace)
  }, 600_000)

  afterAll(async () => {
    await dropSandboxImage(workspace)
    await workspace[Symbol.asyncDispose]()
    await rm(repository, { recursive: true, force: true })
  })

  it('should have commands', () => {
    expect(TOUR.length).toBeGreaterThan(10)
    expect(Object.keys(EXPECTED).filter((command) => !TOUR.includes(command))).toEqual([])
  })

  it.each(TOUR)('should work: %s', async (command) => {
    const PATH = `${dirname(workspace.program)}:${process.env.PATH}`
    const { stdout } = await run('bash', ['-c', command], { cwd: repository, env: { ...workspace.env, PATH } })
    expect(stdout).toMatch(EXPECTED[command] ?? /^/)
  })
})
