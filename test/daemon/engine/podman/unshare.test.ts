import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { removeAsRoot } from '../../../../daemon/engine/podman/unshare.ts'

describe('removing as root of the user namespace', () => {
  let directory: string

  /** Puts a program of this name and text on the PATH. */
  const podman = async (script: string) => {
    await writeFile(join(directory, 'podman'), `#!/bin/sh\n${script}\n`)
    await chmod(join(directory, 'podman'), 0o755)
    return { PATH: `${directory}:/usr/bin:/bin` }
  }

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'loopat-unshare-'))
  })

  afterEach(async () => {
    await rm(directory, { recursive: true })
  })

  it('should hand the path over as one argument that is no option', async () => {
    const env = await podman(`printf '<%s>' "$@" > ${join(directory, 'seen')}`)
    await removeAsRoot('/home/a b;c', env)
    expect(await readFile(join(directory, 'seen'), 'utf8')).toBe('<unshare><rm><-rf><--></home/a b;c>')
  })

  it('should fail with what podman says', async () => {
    const env = await podman('echo "cannot do it" >&2; exit 1')
    await expect(removeAsRoot('/x', env)).rejects.toMatchObject({
      kind: 'failed',
      message: expect.stringContaining('cannot do it'),
    })
  })

  it('should say when there is no podman', async () => {
    await expect(removeAsRoot('/x', { PATH: directory })).rejects.toMatchObject({ kind: 'unavailable' })
  })

  it('should refuse a path that is not absolute', async () => {
    await expect(removeAsRoot('x', { PATH: directory })).rejects.toMatchObject({ kind: 'failed' })
  })

  it('should stop when its caller gives up', async () => {
    const env = await podman('exec sleep 1000')
    const caller = new AbortController()
    const removing = removeAsRoot('/x', env, caller.signal)
    caller.abort(new Error('gone'))
    await expect(removing).rejects.toThrow('gone')
  })
})
