import { chmod, mkdir, mkdtemp, readdir, rm, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { removeBuildFiles } from '../../../../daemon/engine/podman/build-files.ts'

it('should remove what is older than every podman that runs, and nothing else', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'loopat-build-files-'))
  try {
    const longAgo = new Date('2001-01-01')
    for (const name of ['buildah123', 'libpod_builder456', 'storage789', 'buildah-of-mine', 'other']) {
      await mkdir(join(directory, name))
      await writeFile(join(directory, name, 'file'), '')
      await utimes(join(directory, name), longAgo, longAgo)
    }
    await mkdir(join(directory, 'buildah123', 'mnt', 'rootfs'), { recursive: true })
    await chmod(join(directory, 'buildah123', 'mnt', 'rootfs'), 0)
    await chmod(join(directory, 'buildah123', 'mnt'), 0)
    await utimes(join(directory, 'buildah123'), longAgo, longAgo)
    await mkdir(join(directory, 'buildah999'))
    const future = new Date(Date.now() + 3_600_000)
    await utimes(join(directory, 'buildah999'), future, future)
    expect(await removeBuildFiles(directory)).toBe(3)
    expect((await readdir(directory)).sort()).toEqual(['buildah-of-mine', 'buildah999', 'other'])
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
})
