import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { skipsPodman } from '../harness/podman.ts'

const START = fileURLToPath(new URL('../harness/start.mjs', import.meta.url))
/** The bench makes its image and its loops first. */
const LIMIT = { timeout: 600_000 }

it.skipIf(skipsPodman())('should measure one row side by side, and print and write it', LIMIT, async () => {
  const args = ['--quick', '--only=^exec: exec/run$', '--json-fd=3']
  const child = spawn(process.execPath, [START, 'test/bench/main.ts', ...args], {
    stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
  })
  const { stdout, stderr } = child
  const json = child.stdio[3]
  if (stdout === null || stderr === null || !(json instanceof Readable)) throw new Error('there are no pipes')
  const said = Promise.all([text(stdout), text(stderr), text(json)])
  const [code] = await once(child, 'close')
  const [table, progress, figures] = await said
  expect(code, progress).toBe(0)
  expect(table).toMatch(/^\| exec: exec\/run +\| +[\d.]+ ms \|.*\| podman exec \(remote\) +\|.*×/m)
  expect(progress).toContain('1/1 exec: exec/run')
  const number = expect.any(Number)
  const figure = { best: number, median: number, p95: number, worst: number, samples: 2 }
  const subject = { ...figure, label: 'one connection' }
  const side = (label: string) => ({ ...figure, label, ratio: number, difference: number })
  const labels = ['podman exec (remote)', 'API exec', 'host spawn']
  const against = expect.arrayContaining(labels.map(side))
  const rows = [{ group: 'exec', name: 'exec/run', unit: 'ms', better: 'lower', subject, against, note: null }]
  const commands = expect.arrayContaining(['remote'])
  const host = {
    podman: expect.stringMatching(/^\d/),
    podmanCommands: commands,
    cpus: number,
    loadBefore: expect.any(Array),
  }
  expect(JSON.parse(figures)).toMatchObject({ quick: true, host, rows })
})
