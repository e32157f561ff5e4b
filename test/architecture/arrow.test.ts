import { describe, expect, it } from 'vitest'
import { type Import, importsOf, read, sources } from './source.ts'

const all = ['protocol', 'client', 'daemon'].flatMap(sources).flatMap(importsOf)
const shown = ({ from, to }: Import) => `${from} → ${to}`
const within = (path: string, folder: string) => path === folder || path.startsWith(`${folder}/`)

/** Rooms of the daemon that hold use cases. They may know the port and each other's interfaces, never a transport. */
const SERVICES = ['doctor', 'exec', 'git', 'host', 'idle', 'image', 'loop', 'uninstall', 'vault'].map(
  (room) => `daemon/${room}`,
)

/** Composition roots of the daemon: what serves a workspace, what removes one, and what runs host commands. */
const ROOTS = ['daemon/main.ts', 'daemon/uninstall-main.ts', 'daemon/host-runner-main.ts']

describe('arrows', () => {
  it('should let the contract import nothing of ours but itself', () => {
    const wrong = all.filter(({ from, to }) => within(from, 'protocol') && /^(client|daemon|@loopatd)/.test(to))
    expect(wrong.map(shown)).toEqual([])
  })

  it('should let the contract load nothing but zod, vscode-jsonrpc and Node', () => {
    const wrong = all.filter(
      ({ from, to }) => within(from, 'protocol') && !/^(protocol\/|node:|zod$|vscode-jsonrpc)/.test(to),
    )
    expect(wrong.map(shown)).toEqual([])
  })

  it('should keep client and daemon from knowing each other', () => {
    const wrong = all.filter(
      ({ from, to }) =>
        (within(from, 'client') && /^(daemon\/|@loopatd\/daemon)/.test(to)) ||
        (within(from, 'daemon') && /^(client\/|@loopatd\/client)/.test(to)),
    )
    expect(wrong.map(shown)).toEqual([])
  })

  it('should keep the client library from knowing the command line', () => {
    const wrong = all.filter(
      ({ from, to }) => within(from, 'client') && !within(from, 'client/cli') && within(to, 'client/cli'),
    )
    expect(wrong.map(shown)).toEqual([])
  })

  it('should keep zod out of the client', () => {
    const heavy = new Set(
      sources('protocol').filter((path) => importsOf(path).some(({ to, typeOnly }) => to === 'zod' && !typeOnly)),
    )
    for (let size = -1; size !== heavy.size; ) {
      size = heavy.size
      for (const { from, to, typeOnly } of all)
        if (!typeOnly && heavy.has(to) && within(from, 'protocol')) heavy.add(from)
    }
    const file = (to: string) =>
      to === '@loopatd/protocol' ? 'protocol/index.ts' : to.replace(/^@loopatd\/(protocol\/.+)$/, '$1.ts')
    const wrong = all.filter(
      ({ from, to, typeOnly }) => within(from, 'client') && !typeOnly && (to === 'zod' || heavy.has(file(to))),
    )
    expect(wrong.map(shown)).toEqual([])
  })

  it('should keep services from knowing the transport and the adapter', () => {
    const wrong = all.filter(
      ({ from, to }) =>
        SERVICES.some((room) => within(from, room)) &&
        (within(to, 'daemon/server') || within(to, 'daemon/engine/podman') || to.startsWith('vscode-jsonrpc')),
    )
    expect(wrong.map(shown)).toEqual([])
  })

  it('should keep the engine from knowing who uses it', () => {
    const wrong = all.filter(
      ({ from, to }) =>
        within(from, 'daemon/engine') && /^daemon\//.test(to) && !/^daemon\/(engine|lib)\/|^daemon\/log\.ts$/.test(to),
    )
    expect(wrong.map(shown)).toEqual([])
  })

  it('should keep the leaves from knowing anything', () => {
    const wrong = all.filter(
      ({ from, to }) => within(from, 'daemon/lib') && /^daemon\//.test(to) && !within(to, 'daemon/lib'),
    )
    expect(wrong.map(shown)).toEqual([])
  })

  it('should let nobody but the composition roots see the adapter', () => {
    const wrong = all.filter(
      ({ from, to }) =>
        within(to, 'daemon/engine/podman') && !within(from, 'daemon/engine/podman') && !ROOTS.includes(from),
    )
    expect(wrong.map(shown)).toEqual([])
  })

  it('should let nobody import a composition root or a template', () => {
    const wrong = all.filter(({ to }) => ROOTS.includes(to) || within(to, 'templates'))
    expect(wrong.map(shown)).toEqual([])
  })
})

/** The one place that may import a vendor. */
const VENDORS: Readonly<Record<string, RegExp>> = {
  '@lydell/node-pty': /^daemon\/host\/pty-command\.ts$/,
  commander: /^client\/cli\//,
  dockerode: /^daemon\/engine\/podman\//,
  pino: /^daemon\/log\.ts$/,
  'simple-git': /^daemon\/git\//,
  'smol-toml': /^daemon\/lib\/toml\.ts$/,
  'string-width': /^client\/cli\//,
  'tar-stream': /^daemon\/(image|engine\/podman)\//,
  'vscode-jsonrpc': /^(daemon\/server|protocol)\/|^client\/[a-z-]+\.ts$|^client\/feature\//,
}

describe('vendors', () => {
  it.each(Object.entries(VENDORS))('should import %s in its one place', (vendor, place) => {
    const wrong = all.filter(({ from, to }) => (to === vendor || to.startsWith(`${vendor}/`)) && !place.test(from))
    expect(wrong.map(shown)).toEqual([])
  })

  it('should be all that is imported', () => {
    const known = new Set([...Object.keys(VENDORS), 'zod', '@loopatd/protocol', '@loopatd/client'])
    const name = (to: string) =>
      to
        .split('/')
        .slice(0, to.startsWith('@') ? 2 : 1)
        .join('/')
    const wrong = all.filter(({ to }) => !/^(protocol|client|daemon|node:)/.test(to) && !known.has(name(to)))
    expect(wrong.map(shown)).toEqual([])
  })
})

describe('state', () => {
  const files = ['protocol', 'client', 'daemon'].flatMap(sources)

  it('should have an owner: no module-level variable or registry', () => {
    const wrong = files.filter((path) =>
      /^(export )?(let|var) |^(export )?const \w+ = new (Map|Set|WeakMap|WeakSet)(<.*>)?\(\)/m.test(read(path)),
    )
    expect(wrong).toEqual([])
  })

  it('should come from the environment only in the entry points', () => {
    const entries = [
      'client/cli/main.ts',
      ...ROOTS,
      // The library's own entry: a program that embeds the client has no root of ours to ask.
      'client/spawn-daemon.ts',
      'protocol/socket.ts',
      // Hides variables from a vendor that reads them.
      'daemon/engine/podman/docker.ts',
    ]
    expect(files.filter((path) => /\bprocess\.(env|argv)\b/.test(read(path)) && !entries.includes(path))).toEqual([])
  })
})
