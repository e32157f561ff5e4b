/** Reads apt's lists of sources (one-line and deb822 style) and picks those that are the distribution's own: pure. */

/** One place packages come from. */
export interface AptSource {
  readonly uri: string
  readonly suite: string
  readonly components: readonly string[]
  /** Path of the keyring, when one is named. */
  readonly signedBy: string | undefined
}

/** A file of sources, as it is on the host. */
export interface AptSourceFile {
  readonly path: string
  readonly text: string
}

/**
 * Picks the sources of one release out of the host's, as one-line entries. Only what the distribution itself signs, for
 * its own suites, over http(s) and without credentials: everything else would not work, or not belong, in an image.
 * @returns nothing when the release itself is not among them; its updates alone are of no use
 */
export function pickSources(files: readonly AptSourceFile[], release: string): string[] {
  const suites = new Set([release, `${release}-updates`, `${release}-security`])
  const own = files.flatMap(parseFile).filter((source) => suites.has(source.suite) && isOwn(source))
  if (!own.some((source) => source.suite === release)) return []
  return [...new Set(own.map(formatSource))]
}

function isOwn({ uri, components, signedBy }: AptSource): boolean {
  if (!/^https?:\/\/[^@\s]+$/.test(uri) || components[0] !== 'main') return false
  return signedBy === undefined || /^\/usr\/share\/keyrings\/(?:debian|ubuntu)-archive-keyring\.\w+$/.test(signedBy)
}

function formatSource({ uri, suite, components, signedBy }: AptSource): string {
  const options = signedBy === undefined ? '' : `[signed-by=${signedBy}] `
  return `deb ${options}${uri} ${suite} ${components.join(' ')}`
}

function parseFile({ path, text }: AptSourceFile): AptSource[] {
  return path.endsWith('.sources') ? text.split(/\n\s*\n/).flatMap(parseStanza) : text.split('\n').flatMap(parseLine)
}

function parseLine(line: string): AptSource[] {
  const match = /^deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s+([^#]*)/.exec(line.trim())
  if (match === null) return []
  const [, options = '', uri = '', suite = '', components = ''] = match
  const signedBy = /(?:^|\s)signed-by=(\S+)/i.exec(options)?.[1]
  return [{ uri: trimSlash(uri), suite, components: words(components), signedBy }]
}

function parseStanza(stanza: string): AptSource[] {
  const fields = new Map<string, string>()
  let name = ''
  for (const line of stanza.split('\n').filter((each) => !each.startsWith('#'))) {
    const field = /^([A-Za-z-]+):(.*)$/.exec(line)
    name = field?.[1]?.toLowerCase() ?? name
    fields.set(name, field === null ? `${fields.get(name) ?? ''}\n${line}` : (field[2] ?? ''))
  }
  const list = (key: string) => words(fields.get(key) ?? '')
  if (!list('types').includes('deb') || list('enabled')[0]?.toLowerCase() === 'no') return []
  const keyring = fields.get('signed-by')?.trim()
  const common = { components: list('components'), signedBy: keyring === '' ? undefined : keyring }
  return list('uris').flatMap((uri) => list('suites').map((suite) => ({ uri: trimSlash(uri), suite, ...common })))
}

function words(text: string): string[] {
  return text.split(/\s+/).filter((word) => word !== '')
}

function trimSlash(uri: string): string {
  return uri.replace(/\/+$/, '')
}
