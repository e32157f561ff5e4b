import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readFile, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { endAbandonedSteps } from '../../../../daemon/engine/podman/build-orphan.ts'
import { type TemporaryDirectory, temporaryDirectory } from '../../../harness/repo.ts'

describe('steps of builds', () => {
  const children: ChildProcess[] = []
  let files: TemporaryDirectory
  let env: NodeJS.ProcessEnv

  beforeEach(async () => {
    files = await temporaryDirectory()
    await writeFile(join(files.path, 'wait'), 'echo; sleep 60\n')
    await writeFile(join(files.path, 'crun'), `#!/bin/sh\necho "$*" >>${files.path}/asked\n`, { mode: 0o755 })
    await writeFile(join(files.path, 'asked'), '')
    env = { PATH: `${files.path}:${process.env.PATH}`, XDG_RUNTIME_DIR: files.path }
    await mkdir(join(files.path, 'state'))
  })
  afterEach(async () => {
    for (const child of children.splice(0)) child.kill('SIGKILL')
    await files[Symbol.asyncDispose]()
  })

  /** A process that is called like one of a build; no podman is its parent. */
  async function start(argv0: string, ...words: string[]): Promise<ChildProcess> {
    const child = spawn('sh', [join(files.path, 'wait'), ...words], { argv0, stdio: ['ignore', 'pipe', 'ignore'] })
    children.push(child)
    await once(child.stdout, 'data')
    return child
  }

  it('should be ended when their podman is gone, as is what starts them', async () => {
    const waiter = await start('buildah-oci-runtime')
    const starter = await start('/usr/bin/crun', 'create', '--bundle', '/var/tmp/buildah1', 'buildah-buildah1')
    const other = await start('/usr/bin/crun', 'create', '--bundle', '/store/c1/userdata', 'c1')
    expect(await endAbandonedSteps({ ...env, XDG_RUNTIME_DIR: join(files.path, 'state') })).toBe(2)
    const signals = () => [waiter.signalCode, starter.signalCode]
    await vi.waitFor(() => expect(signals()).toEqual(['SIGKILL', 'SIGKILL']), { timeout: 5_000 })
    expect(other.signalCode).toBeNull()
  })

  it('should be given to the runtime to end, or to forget when they have ended long ago', async () => {
    const step = await start('sh')
    const state = join(files.path, 'state')
    for (const [name, pid] of [
      ['buildah-buildah1', step.pid],
      ['buildah-buildah2', 2 ** 22],
      ['buildah-buildah3', 2 ** 22],
      ['c1', step.pid],
    ] as const) {
      await mkdir(join(state, 'crun', name), { recursive: true })
      await writeFile(join(state, 'crun', name, 'status'), `{\n  "pid": ${pid},\n  "owner": "x"\n}\n`)
    }
    await utimes(join(state, 'crun/buildah-buildah2'), 1, 1)
    const soon = new Date(Date.now() + 60_000)
    await utimes(join(state, 'crun/buildah-buildah3'), soon, soon)
    expect(await endAbandonedSteps({ ...env, XDG_RUNTIME_DIR: state })).toBe(2)
    const asked = (await readFile(join(files.path, 'asked'), 'utf8')).trim().split('\n')
    expect(asked.sort()).toEqual(['delete --force buildah-buildah1', 'delete --force buildah-buildah2'])
  })
})
