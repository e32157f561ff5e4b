import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { GitRunner } from '../../../daemon/git/git-runner.ts'
import type { Logger } from '../../../daemon/log.ts'
import { type TemporaryDirectory, temporaryDirectory } from '../../harness/repo.ts'

const log: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  child: () => log,
}
const never = new AbortController().signal

describe('running git', () => {
  let files: TemporaryDirectory
  beforeEach(async () => {
    files = await temporaryDirectory()
    await mkdir(join(files.path, 'bin'))
  })
  afterEach(() => files[Symbol.asyncDispose]())

  /** Runs a script in place of git. */
  async function fake(
    script: string,
    call: { blockMs?: number; onLine?: (line: string) => void } = {},
    signal = never,
  ) {
    const path = join(files.path, 'bin/git')
    await writeFile(path, `#!/bin/sh\n${script}\n`)
    await chmod(path, 0o755)
    const git = new GitRunner({ env: { PATH: `${join(files.path, 'bin')}:/usr/bin:/bin` }, home: files.path, log })
    const base = { args: ['fetch', 'x'], cwd: files.path, gitDir: '/dev/null', blockMs: 5000 }
    return await git.run({ ...base, ...call }, signal)
  }

  it('should return what git says, and pass on its progress', async () => {
    const lines: string[] = []
    const output = await fake('printf "one\\rtwo\\nthree\\n" >&2; echo "  out  "', {
      onLine: (line) => lines.push(line),
    })
    expect(output).toBe('  out  \n')
    expect(lines).toEqual(['one', 'two', 'three'])
  })

  it('should give git an empty stdin, a session of its own and no terminal', async () => {
    const script =
      'cat; read -r pid _ _ _ _ sid _ </proc/$$/stat; echo "$((pid == sid))"; (: </dev/tty) 2>/dev/null || echo none'
    expect(await fake(script)).toBe('1\nnone\n')
  })

  it('should fail with the words of git, whatever its exit code and however little it says', async () => {
    await expect(fake('echo "fatal: no" >&2; exit 128')).rejects.toMatchObject({ kind: 'failed', message: 'no' })
    await expect(fake('exit 1')).rejects.toMatchObject({ kind: 'failed', message: 'git fetch ended with 1' })
    await expect(fake('kill -9 $$')).rejects.toMatchObject({ kind: 'failed', message: 'git fetch ended with a signal' })
  })

  it('should tell a full disk and a missing git apart', async () => {
    await expect(fake('echo "fatal: write error: No space left on device" >&2; exit 128')).rejects.toMatchObject({
      kind: 'storage_full',
    })
    for (const PATH of ['/nonexistent', join(files.path, 'bin')]) {
      await writeFile(join(files.path, 'bin/setsid'), '#!/bin/sh\nexit 127\n', { mode: 0o755 })
      const git = new GitRunner({ env: { PATH }, home: files.path, log })
      const call = { args: ['status'], cwd: files.path, gitDir: '/dev/null', blockMs: 5000 }
      await expect(git.run(call, never)).rejects.toMatchObject({ kind: 'missing' })
    }
  })

  it('should end a git that says nothing for too long, with all that it started', async () => {
    const pid = join(files.path, 'pid')
    const helper = `sh -c 'echo $$ > ${pid}; exec sleep 60' &`
    await expect(fake(`${helper} exec sleep 60`, { blockMs: 2000 })).rejects.toMatchObject({ kind: 'timeout' })
    await expectEnded(Number(await readFile(pid, 'utf8')))
  })

  it('should end git and all that it started when the caller leaves', async () => {
    const pid = join(files.path, 'pid')
    const reason = new Error('left')
    const abort = new AbortController()
    const helper = `sh -c 'echo $$ > ${pid}; echo ready >&2; exec sleep 60' &`
    const running = fake(`${helper} exec sleep 60`, { onLine: () => abort.abort(reason) }, abort.signal)
    await expect(running).rejects.toBe(reason)
    await expectEnded(Number(await readFile(pid, 'utf8')))
    await expect(fake('true', {}, AbortSignal.abort(reason))).rejects.toBe(reason)
  })

  it.each(['', '>&2'])('should end a git that writes without end (%s)', async (where) => {
    await expect(
      fake(`exec yes aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa ${where}`),
    ).rejects.toMatchObject({
      kind: 'too_much_output',
    })
  })
})

/** A signal takes a moment; a process that nobody has waited for yet has ended, too. */
async function expectEnded(pid: number): Promise<void> {
  expect(pid).toBeGreaterThan(1)
  const state = () => readFile(`/proc/${pid}/stat`, 'utf8').catch((error: NodeJS.ErrnoException) => error.code)
  await expect.poll(state, { timeout: 5000 }).toMatch(/^(ENOENT|ESRCH|\d+ \(.*\) Z .*\n)$/)
}
