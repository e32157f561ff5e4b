import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { LAUNCHER } from '../../../daemon/loop/launcher.ts'
import { until } from './kit.ts'

const SHELLS = [['/bin/sh'], ['/bin/dash'], ['/bin/bash', '--posix'], ['/bin/busybox', 'sh']].filter(([program = '']) =>
  existsSync(program),
)

describe.each(SHELLS.map((shell) => [shell.join(' '), shell] as const))('the launcher in %s', (_name, shell) => {
  let control: string
  let launched: ChildProcess

  /** Runs the launcher with another control directory than that of a loop. */
  const launch = (agentShell = '/bin/sh') => {
    const script = (LAUNCHER[2] ?? '').replaceAll('/loopat/control', control).replace('/bin/sh ', `${agentShell} `)
    const [program = '', ...args] = shell
    launched = spawn(program, [...args, '-c', script], { detached: true, stdio: 'ignore' })
  }

  beforeEach(async () => {
    control = await mkdtemp(join(tmpdir(), 'loopat-control-'))
  })

  afterEach(async () => {
    if (launched.pid !== undefined) {
      try {
        process.kill(-launched.pid, 'SIGKILL')
      } catch (error) {
        if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error
      }
    }
    await rm(control, { recursive: true })
  })

  it('should sleep without an agent, and end on TERM', async () => {
    launch()
    await once(launched, 'spawn')
    launched.kill('SIGTERM')
    expect(await once(launched, 'exit')).toEqual([null, 'SIGTERM'])
  })

  it('should run the agent, and again when it ended', async () => {
    await writeFile(join(control, 'agent'), `echo run >> ${join(control, 'runs')}\n`)
    launch()
    await until(async () => existsSync(join(control, 'runs')) && (await runs(control)) >= 2)
    launched.kill('SIGTERM')
    expect(await once(launched, 'exit')).toEqual([null, 'SIGTERM'])
  })

  it('should end on TERM while the agent runs', async () => {
    await writeFile(join(control, 'agent'), `echo run >> ${join(control, 'runs')}\nexec sleep 1000\n`)
    launch()
    await until(() => existsSync(join(control, 'runs')))
    launched.kill('SIGTERM')
    expect(await once(launched, 'exit')).toEqual([null, 'SIGTERM'])
  })
})

async function runs(control: string): Promise<number> {
  return (await readFile(join(control, 'runs'), 'utf8')).split('\n').length - 1
}

describe('the launcher', () => {
  it('should be a fixed argument vector that any POSIX shell can run', () => {
    // A changed command makes every existing loop anew at its next start: is that meant?
    expect(LAUNCHER).toMatchInlineSnapshot(`
      [
        "/bin/sh",
        "-c",
        "while :; do if [ -f /loopat/control/agent ]; then /bin/sh /loopat/control/agent; sleep 1 || exit 1; else sleep 3600 || exit 1; fi; done",
      ]
    `)
  })
})
