import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { startGroup } from './process-group.ts'

/** Lines of the tool that an error message quotes. */
const QUOTED_LINES = 8

/** How to bootstrap. */
export interface BootstrapTools {
  /** Program that makes the system: `mmdebstrap`, by name or path. */
  readonly command: string
  /** PATH and proxies; nothing else of the daemon's environment is needed. */
  readonly env: Readonly<Record<string, string>>
  /** Existing directory with room for some 400 MB, which everybody may enter. */
  readonly tmpDir: string
}

/** Collects the latest lines, telling each one as it comes. */
export function collectLines(stream: Readable, onLine: (line: string) => void): string[] {
  const lines: string[] = []
  createInterface({ input: stream }).on('line', (line) => {
    lines.push(line.slice(0, 300))
    if (lines.length > QUOTED_LINES) lines.shift()
    onLine(line)
  })
  return lines
}

/** Runs a program as root of a user namespace with the user's subordinate ids. */
export async function runHelper(tools: BootstrapTools, command: readonly string[]) {
  const group = startGroup(tools.command, ['--unshare-helper', ...command], environment(tools))
  group.stdout.resume()
  const lines = collectLines(group.stderr, () => undefined)
  return { ...(await group.ended), lines }
}

/** The tool's environment. */
export function environment(tools: BootstrapTools): NodeJS.ProcessEnv {
  return { ...tools.env, LANG: 'C.UTF-8', TMPDIR: tools.tmpDir }
}
