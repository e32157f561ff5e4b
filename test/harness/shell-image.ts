import { execFile } from 'node:child_process'
import { readdir, readFile, realpath, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { promisify } from 'node:util'
import { extract, pack } from 'tar-stream'
import type { Engine } from '../../daemon/engine/engine.ts'
import { smallRootfs, type TestImage } from './podman.ts'

/** Shells of this host that an image may have as `/bin/sh`. */
export type HostShell = 'bash' | 'dash'

/** Kinds of images that commands behave the same in; `engine` has nothing by which an agent could work. */
const KINDS = ['bash', 'dash', 'alpine', 'engine'] as const

/**
 * Imports an image of the kind that `LOOPAT_TEST_IMAGE` names.
 * @param tag fully qualified name with tag
 * @throws when there is no such kind
 */
export async function imageOfKind(engine: Engine, name: string, tag: string): Promise<TestImage> {
  const kind = KINDS.find((known) => known === name)
  if (kind === undefined) throw new Error(`LOOPAT_TEST_IMAGE is ${name}, and not one of: ${KINDS.join(', ')}`)
  if (kind === 'alpine') return await alpineLikeImage(engine, tag)
  if (kind === 'engine') return await shellImage(engine, 'dash', { tag, without: ['bin/setsid'] })
  return await shellImage(engine, kind, { tag })
}

/**
 * Imports the tiny image with a shell of this host as `/bin/sh`, as Debian (dash) and Fedora (bash) have it; everything
 * else in it is busybox.
 * @param tag fully qualified name with tag; default: one of its own
 * @param without paths to leave out
 */
export async function shellImage(
  engine: Engine,
  shell: HostShell,
  { tag = `localhost/loopat-test-${shell}:${process.pid}`, without = [] }: { tag?: string; without?: string[] } = {},
): Promise<TestImage> {
  const tar = pack()
  const rootfs = new PassThrough()
  tar.pipe(rootfs)
  const imported = engine.image.import(rootfs, tag)
  await addPrograms(tar, { 'bin/sh': `/bin/${shell}` })
  await copyWithout(await smallRootfs(), tar, ['bin/sh', ...without])
  tar.finalize()
  return { ...(await imported), tag, [Symbol.asyncDispose]: () => engine.image.untag(tag) }
}

/**
 * Imports the tiny image with what commands of the host need: this host's perl, as Debian's perl-base has it, and the
 * link to what runs them.
 * @param tag fully qualified name with tag
 */
export async function perlImage(engine: Engine, tag: string): Promise<TestImage> {
  const { stdout } = await promisify(execFile)('perl', ['-e', 'print join "\n", grep { m{/perl-base$} } @INC'])
  const library = stdout.trim()
  const tar = pack()
  const rootfs = new PassThrough()
  tar.pipe(rootfs)
  const imported = engine.image.import(rootfs, tag)
  await addPrograms(tar, { 'usr/bin/perl': '/usr/bin/perl' })
  for (const path of await readdir(library, { recursive: true })) {
    const file = join(library, path)
    if ((await stat(file)).isFile()) tar.entry({ name: file.slice(1), mode: 0o644 }, await readFile(file))
  }
  tar.entry({ name: 'usr/local/bin/loopat-host', type: 'symlink', linkname: '/loopat/control/loopat-host' })
  await copyWithout(await smallRootfs(), tar, [])
  tar.finalize()
  return { ...(await imported), tag, [Symbol.asyncDispose]: () => engine.image.untag(tag) }
}

/** Adds programs of this host and what they are linked with. @param programs where in the image, and where on the host */
async function addPrograms(tar: ReturnType<typeof pack>, programs: Readonly<Record<string, string>>): Promise<void> {
  for (const [name, path] of Object.entries(programs)) {
    const program = await realpath(path)
    // Where the loader looks for them, whatever they are links to.
    const { stdout } = await promisify(execFile)('ldd', [program])
    const libraries = [...stdout.matchAll(/(\/\S+) \(0x/g)].map(([, library = '']) => library)
    for (const library of libraries) tar.entry({ name: library.slice(1), mode: 0o755 }, await readFile(library))
    tar.entry({ name, mode: 0o755 }, await readFile(program))
  }
}

/** What Alpine has in `/etc/passwd`, in short: nobody with the user id of loops. */
const ALPINE_USERS = `root:x:0:0:root:/root:/bin/sh
bin:x:1:1:bin:/bin:/sbin/nologin
daemon:x:2:2:daemon:/sbin:/sbin/nologin
guest:x:405:100:guest:/dev/null:/sbin/nologin
nobody:x:65534:65534:nobody:/:/sbin/nologin
`

/**
 * Imports an image as Alpine makes them: busybox and no bash, `/bin/sh` and `/var/run` absolute links, its own profile,
 * a root directory that only root may enter, and users of which none is ours.
 * @param tag fully qualified name with tag
 */
export async function alpineLikeImage(engine: Engine, tag: string): Promise<TestImage> {
  const tar = pack()
  const rootfs = new PassThrough()
  tar.pipe(rootfs)
  const imported = engine.image.import(rootfs, tag)
  await copyWithout(await smallRootfs(true), tar, ['bin/sh', 'etc/passwd', 'etc/group'])
  for (const name of ['home', 'etc/profile.d', 'lib', 'sbin', 'usr/sbin']) tar.entry({ name, type: 'directory' })
  tar.entry({ name: 'root', type: 'directory', mode: 0o700 })
  tar.entry({ name: 'bin/sh', type: 'symlink', linkname: '/bin/busybox' })
  tar.entry({ name: 'var/run', type: 'symlink', linkname: '/run' })
  tar.entry({ name: 'etc/passwd' }, ALPINE_USERS)
  tar.entry({ name: 'etc/group' }, 'root:x:0:root\nusers:x:100:\nnobody:x:65534:\n')
  tar.entry({ name: 'etc/profile' }, 'export PAGER=less\numask 022\n')
  tar.entry({ name: 'etc/alpine-release' }, '3.22.0\n')
  tar.finalize()
  return { ...(await imported), tag, [Symbol.asyncDispose]: () => engine.image.untag(tag) }
}

/**
 * Imports an image in which nothing can be started.
 * @param tag fully qualified name with tag
 */
export async function emptyImage(engine: Engine, tag: string): Promise<TestImage> {
  const tar = pack()
  tar.entry({ name: 'etc', type: 'directory' })
  tar.finalize()
  return {
    ...(await engine.image.import(tar.pipe(new PassThrough()), tag)),
    tag,
    [Symbol.asyncDispose]: () => engine.image.untag(tag),
  }
}

async function copyWithout(from: NodeJS.ReadableStream, to: ReturnType<typeof pack>, left: string[]): Promise<void> {
  for await (const entry of from.pipe(extract())) {
    if (left.includes(entry.header.name)) entry.resume()
    else {
      const chunks: Buffer[] = []
      for await (const chunk of entry as AsyncIterable<Buffer>) chunks.push(chunk)
      to.entry({ ...entry.header }, Buffer.concat(chunks))
    }
  }
}
