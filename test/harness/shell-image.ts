import { execFile } from 'node:child_process'
import { readFile, realpath } from 'node:fs/promises'
import { PassThrough } from 'node:stream'
import { promisify } from 'node:util'
import { extract, pack } from 'tar-stream'
import type { Engine } from '../../daemon/engine/engine.ts'
import { smallRootfs, type TestImage } from './podman.ts'

/** Shells of this host that an image may have as `/bin/sh`. */
export type HostShell = 'bash' | 'dash'

/**
 * Imports the tiny image with a shell of this host as `/bin/sh`, as Debian (dash) and Fedora (bash) have it; everything
 * else in it is busybox.
 */
export async function shellImage(engine: Engine, shell: HostShell): Promise<TestImage> {
  const tag = `localhost/loopat-test-${shell}:${process.pid}`
  const tar = pack()
  const rootfs = new PassThrough()
  tar.pipe(rootfs)
  const imported = engine.image.import(rootfs, tag)
  const program = await realpath(`/bin/${shell}`)
  // Where the loader looks for them, whatever they are links to.
  const { stdout } = await promisify(execFile)('ldd', [program])
  const libraries = [...stdout.matchAll(/(\/\S+) \(0x/g)].map(([, path = '']) => path)
  for (const path of libraries) tar.entry({ name: path.slice(1), mode: 0o755 }, await readFile(path))
  tar.entry({ name: 'bin/sh', mode: 0o755 }, await readFile(program))
  await copyWithout(await smallRootfs(), tar, 'bin/sh')
  tar.finalize()
  return { ...(await imported), tag, [Symbol.asyncDispose]: () => engine.image.untag(tag) }
}

async function copyWithout(from: NodeJS.ReadableStream, to: ReturnType<typeof pack>, left: string): Promise<void> {
  for await (const entry of from.pipe(extract())) {
    if (entry.header.name === left) entry.resume()
    else {
      const chunks: Buffer[] = []
      for await (const chunk of entry as AsyncIterable<Buffer>) chunks.push(chunk)
      to.entry({ ...entry.header }, Buffer.concat(chunks))
    }
  }
}
