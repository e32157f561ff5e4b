import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { until } from '../loop/kit.ts'

const run = promisify(execFile)
const TEMPLATE = fileURLToPath(new URL('../../../templates/job', import.meta.url))
const SHELLS = [['/bin/dash'], ['/bin/bash', '--posix'], ['/bin/busybox', 'sh']].filter(([program = '']) =>
  existsSync(program),
)

describe.each(SHELLS.map((shell) => [shell.join(' '), shell] as const))('the program of jobs in %s', (_name, shell) => {
  let directory: string
  let program: string

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'loopat-job-'))
    program = join(directory, 'program')
    await writeFile(program, (await readFile(TEMPLATE, 'utf8')).replaceAll('/bin/sh ', `${shell.join(' ')} `))
  })

  afterEach(async () => {
    for (const id of existsSync(join(directory, 'job')) ? await readdir(join(directory, 'job')) : []) {
      const session = (await namesOf(id)).find((name) => name.startsWith('session.'))?.slice(8)
      for (const pid of session === undefined ? [] : await sessionOf(session)) kill(pid)
      await until(async () => (await namesOf(id)).includes('complete') || !(await isSupervised(id)))
    }
    await rm(directory, { recursive: true })
  })

  const room = (id: string) => join(directory, 'job', id)
  const namesOf = async (id: string) => (await readdir(room(id))).sort()
  const has = (id: string, name: string) => async () => (await namesOf(id)).includes(name)

  async function start(id: string, command: readonly string[], { bytes = 65_536, env = {} } = {}): Promise<string> {
    const [file = '', ...args] = shell
    const words = [...args, program, 'start', join(directory, 'job'), id, `${bytes}`, ...command]
    const { stdout, stderr } = await run(file, words, { env: { PATH: process.env.PATH, ...env } })
    expect(stderr).toBe('')
    return stdout
  }

  /** All of a log that is kept, in order. */
  async function logOf(id: string, stream: string): Promise<{ offset: number; text: string }> {
    const offsets = (await namesOf(id)).flatMap((name) => (name.startsWith(`${stream}.`) ? Number(name.slice(7)) : []))
    offsets.sort((a, b) => a - b)
    const texts = await Promise.all(offsets.map((offset) => readFile(join(room(id), `${stream}.${offset}`), 'utf8')))
    return { offset: offsets[0] ?? 0, text: texts.join('') }
  }

  async function sessionOf(session: string): Promise<number[]> {
    const { stdout } = await run('ps', ['-o', 'pid=', '-s', session]).catch(() => ({ stdout: '' }))
    return stdout.split('\n').flatMap((line) => (line.trim() === '' ? [] : Number(line)))
  }

  async function isSupervised(id: string): Promise<boolean> {
    const { stdout } = await run('ps', ['-eo', 'args='])
    return stdout.includes(`${join(directory, 'job')} ${id} `)
  }

  function kill(pid: number): void {
    try {
      process.kill(pid, 'SIGKILL')
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error
    }
  }

  it('should say the session at once, and record output and exit code when the command has ended', async () => {
    const go = join(directory, 'go')
    const script = 'echo out; echo err >&2; until [ -e "$0" ]; do sleep 0.05; done; echo "$1"; exit 7'
    const answer = await start('a', ['sh', '-c', script, go, ' x  y '])
    const session = /^began (\d+)\n$/.exec(answer)?.[1]
    expect(await namesOf('a')).toContain(`session.${session}`)
    expect(await namesOf('a')).toContain('running')
    await writeFile(go, '')
    await until(has('a', 'complete'))
    expect(await namesOf('a')).toEqual(['complete', 'exit.7', `session.${session}`, 'stderr.0', 'stdout.0'])
    expect(await logOf('a', 'stdout')).toEqual({ offset: 0, text: 'out\n x  y \n' })
    expect(await logOf('a', 'stderr')).toEqual({ offset: 0, text: 'err\n' })
    // To say so is the last that its supervisor does.
    await until(async () => !(await isSupervised('a')))
  })

  it('should tell that a log cannot be written any more, and let the command write on', async () => {
    // What takes the place of the log is found after four reads.
    const script =
      'for i in 1 2 3; do echo $i; sleep 0.2; done; rm "$1" && mkdir "$1"; echo 4; sleep 0.2; seq 9999; exit 3'
    await start('a', ['sh', '-c', script, 'sh', join(room('a'), 'stdout.0')])
    await until(has('a', 'complete'))
    const names = await namesOf('a')
    expect(names.filter((name) => !name.startsWith('session.'))).toEqual([
      'complete',
      'exit.3',
      'stderr.0',
      'stdout.0',
      'stdout.cut',
    ])
  })

  it('should run the command in a session of its own, with signals, input and environment as they were', async () => {
    const script = 'cat; trap; kill -INT $$; echo not reached'
    const answer = await start('a', ['sh', '-c', script], { env: { id: 'kept', loopat_code: 'kept too' } })
    await until(has('a', 'complete'))
    expect(await namesOf('a')).toContain('exit.130')
    expect(await logOf('a', 'stdout')).toEqual({ offset: 0, text: '' })
    await start('b', ['sh', '-c', 'echo "$$ $(cut -d" " -f5,6 /proc/$$/stat) $id $LOOPAT_EXEC"'], {
      env: { id: 'kept' },
    })
    await until(has('b', 'complete'))
    const [pid, group, session, ...variables] = (await logOf('b', 'stdout')).text.trim().split(' ')
    expect([group, session, ...variables]).toEqual([pid, pid, 'kept', 'job-b'])
    expect(answer).toMatch(/^began /)
  })

  it('should say what cannot be run, and leave nothing', async () => {
    await writeFile(join(directory, 'plain'), '')
    expect(await start('a', ['no-such-program'])).toBe('missing\n')
    expect(await start('a', ['/no/such/program'])).toBe('missing\n')
    expect(await start('a', ['-x'])).toBe('missing\n')
    expect(await start('a', [join(directory, 'plain')])).toBe('unfit\n')
    expect(await start('a', [directory])).toBe('unfit\n')
    expect(existsSync(join(directory, 'job'))).toBe(false)
  })

  it('should find its tools without the PATH of the command', async () => {
    expect(await start('a', ['/bin/echo', 'x'], { env: { PATH: '/nowhere' } })).toMatch(/^began /)
    await until(has('a', 'complete'))
    expect((await logOf('a', 'stdout')).text).toBe('x\n')
  })

  it('should see the end of an output although something speaks before its tools do', async () => {
    // As a loader does that misses what `LD_PRELOAD` names.
    const script = '#!/bin/sh\necho "a word before" >&2\nexec /bin/dd "$@"\n'
    await writeFile(join(directory, 'dd'), script, { mode: 0o755 })
    const env = { PATH: `${directory}:${process.env.PATH}` }
    await start('a', ['/bin/echo', 'x'], { env })
    await until(has('a', 'complete'))
    expect((await logOf('a', 'stdout')).text).toBe('x\n')
  })

  it('should keep the end of a long log, and name its files by their offsets', async () => {
    await start('a', ['seq', '100000', '200000'], { bytes: 16_384 })
    await until(has('a', 'complete'))
    const { offset, text } = await logOf('a', 'stdout')
    expect(offset + text.length).toBe(100_001 * 7)
    expect(text.endsWith('199999\n200000\n')).toBe(true)
    expect(text.length).toBeGreaterThan(3 * 16_384 - 1)
    expect(text.length).toBeLessThan(5 * 16_384)
    const whole = Array.from({ length: 100_001 }, (_, index) => `${100_000 + index}\n`).join('')
    expect(whole.endsWith(text)).toBe(true)
  })

  it('should record an end by a signal, and survive what is meant for the command', async () => {
    const session = Number(/\d+/.exec(await start('a', ['sleep', '1000']))?.[0])
    expect(session).toBeGreaterThan(1)
    const { stdout } = await run('ps', ['-eo', 'pid=,args='])
    const supervisors = stdout.split('\n').filter((line) => line.includes(`${join(directory, 'job')} a `))
    expect(supervisors.length).toBeGreaterThan(2)
    for (const line of supervisors) process.kill(Number.parseInt(line, 10), 'SIGTERM')
    process.kill(session, 'SIGTERM')
    await until(has('a', 'complete'))
    expect(await namesOf('a')).toContain('exit.143')
  })

  it('should record the end although children keep the outputs open, and take what they write', async () => {
    const go = join(directory, 'go')
    await start('a', ['sh', '-c', '(until [ -e "$0" ]; do sleep 0.05; done; echo late) & echo early', go])
    await until(has('a', 'exit.0'))
    expect(await namesOf('a')).not.toContain('complete')
    await writeFile(go, '')
    await until(has('a', 'complete'))
    expect((await logOf('a', 'stdout')).text).toBe('early\nlate\n')
  })

  it('should let the command go on when its logs cannot be written', async () => {
    await start('a', ['sh', '-c', 'sleep 0.3; seq 1 100000; echo done >"$0"', join(directory, 'done')])
    // It may be writing one at that moment.
    await rm(room('a'), { recursive: true, maxRetries: 10 })
    await until(async () => existsSync(join(directory, 'done')))
    await until(async () => !(await isSupervised('a')))
    expect(existsSync(room('a'))).toBe(false)
  })

  it('should say when it cannot make its directory', async () => {
    await writeFile(join(directory, 'job'), '')
    expect(await start('a', ['true'])).toMatch(/^failed .*job/)
    await rm(join(directory, 'job'))
  })

  it('should say when its processes are ended before the command begins', async () => {
    await writeFile(
      program,
      (await readFile(program, 'utf8')).replace('\nshift 5\n', () => '\nkill -9 $$\n'),
    )
    expect(await start('a', ['true'])).toBe('failed its processes could not be made, or were ended at once\n')
  })

  it('should refuse to take the directory of another', async () => {
    await start('a', ['true'])
    await until(has('a', 'complete'))
    expect(await start('a', ['true'])).toMatch(/^failed /)
  })
})
