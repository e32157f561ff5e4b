import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { endAllRemoved, endRemoved } from '../../../../daemon/engine/podman/orphan.ts'
import { type TemporaryDirectory, temporaryDirectory } from '../../../harness/repo.ts'

describe('containers that run although podman has removed them', () => {
  const children: ChildProcess[] = []
  let files: TemporaryDirectory

  beforeEach(async () => {
    files = await temporaryDirectory()
    await mkdir(join(files.path, 'there'))
    await writeFile(join(files.path, 'wait'), 'echo; sleep 60\n')
    await writeFile(join(files.path, 'crun'), `#!/bin/sh\necho "$*" >>${files.path}/asked\n`, { mode: 0o755 })
  })
  afterEach(async () => {
    for (const child of children.splice(0)) child.kill('SIGKILL')
    await files[Symbol.asyncDispose]()
  })

  /** A process with the arguments of the one that watches over a container. */
  async function monitor(name: string, { bundle = 'gone', session = name } = {}): Promise<void> {
    const words = [
      '-c',
      name,
      '-u',
      session,
      '-r',
      join(files.path, 'crun'),
      '-b',
      join(files.path, bundle),
      '-n',
      name,
    ]
    const args = [join(files.path, 'wait'), ...words, '--exit-dir', '/x']
    const child = spawn('sh', args, { argv0: '/usr/bin/conmon', stdio: ['ignore', 'pipe', 'ignore'] })
    children.push(child)
    await once(child.stdout, 'data')
  }

  const asked = async () =>
    (await readdir(files.path)).includes('asked') ? (await readFile(join(files.path, 'asked'), 'utf8')).trim() : ''

  it('should be ended when nothing of them is left in the store', async () => {
    const one = `loopat-orphan-${process.pid}`
    await monitor(one)
    await monitor(`${one}-known`, { bundle: 'there' })
    await monitor(`${one}-command`, { session: 'other' })
    await monitor(`foreign-${process.pid}`)
    expect(await endAllRemoved(undefined)).toBe(1)
    expect(await asked()).toBe(`delete --force ${one}`)
  })

  it('should be ended one by one, whatever they are called', async () => {
    const one = `foreign-${process.pid}`
    await monitor(one)
    await endRemoved(`${one}-other`, undefined)
    expect(await asked()).toBe('')
    await endRemoved(one, undefined)
    expect(await asked()).toBe(`delete --force ${one}`)
  })
})
