import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { buffer } from 'node:stream/consumers'
import { connect, type LoopatClient } from '@loopatd/client'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Random } from '../harness/random.ts'
import { makeWorkspace, type TestWorkspace } from '../harness/workspace.ts'

const ROUNDS = Number(process.env.LOOPAT_SAME_ROUNDS ?? 25)
/** Largest input, all arguments together, and all variables together, in bytes. */
const MAX_BYTES = 200_000

/** Shows what the command was given as the kernel has it, then its input, and ends with the code it is told. */
const SCRIPT = 'cat /proc/$$/environ >&2; cat /proc/$$/cmdline; cat; exit "$CODE"'

/** What a command is given. */
interface Given {
  readonly args: readonly string[]
  readonly env: Readonly<Record<string, string>>
  readonly input: Buffer
}

/** What comes of it. */
interface Outcome {
  readonly exitCode: number
  readonly stdout: Buffer
  readonly stderr: Buffer
}

/** Characters that somebody on the way might take for something else, and some of each length. */
const SPECIAL = [
  ...'\x01\x02\n\r\t\x1b\x7f \'"\\$`*?~#=%&|;<>(){}[]!-\u0080\u00e9\u07ff\u0800\u2028\ufeff\ufffd\u{10000}\u{10ffff}',
]

function someText(random: Random, maxBytes: number): string {
  let text = ''
  for (let bytes = random.below(maxBytes + 1) - 4; bytes >= 0; ) {
    const character = random.below(3) === 0 ? random.pick(SPECIAL) : someCharacter(random)
    text += character
    bytes -= Buffer.byteLength(character)
  }
  return text
}

/** Any character but NUL. What no UTF-8 can say, halves of a pair, is left out. */
function someCharacter(random: Random): string {
  const code = 1 + random.below(random.pick([0x7f, 0x7ff, 0xd7ff, 0x10ffff]))
  return code >= 0xd800 && code <= 0xdfff ? '?' : String.fromCodePoint(code)
}

function someGiven(random: Random): Given {
  const size = () => random.below(random.pick([20, 2000, MAX_BYTES / 4]))
  const input = Buffer.from(
    Array.from({ length: random.below(random.pick([2, 2000, MAX_BYTES + 1])) }, () => random.below(256)),
  )
  const args = Array.from({ length: random.below(5) }, () => someText(random, size()))
  const env: Record<string, string> = { CODE: String(random.below(256)) }
  for (let left = random.below(4); left > 0; left -= 1) {
    const letters = Array.from({ length: 1 + random.below(12) }, () => random.pick([...'abcXYZ_019']))
    env[`T_${letters.join('')}`] = someText(random, size())
  }
  return { args, env, input }
}

async function onHost({ args, env, input }: Given): Promise<Outcome> {
  const child = spawn('sh', ['-c', SCRIPT, ...args], { env: { PATH: process.env.PATH, ...env } })
  child.stdin.end(input)
  const [stdout, stderr, [code]] = await Promise.all([buffer(child.stdout), buffer(child.stderr), once(child, 'close')])
  return { exitCode: Number(code), stdout, stderr }
}

/** Only what was given: a loop has variables of its own. */
function variables({ stderr }: Outcome, { env }: Given): string[] {
  const all = stderr.toString('latin1').split('\0')
  return all.filter((entry) => Object.hasOwn(env, entry.slice(0, entry.indexOf('=')))).sort()
}

describe('a command in a loop and the same on the host', () => {
  let workspace: TestWorkspace
  let client: LoopatClient

  beforeAll(async () => {
    workspace = await makeWorkspace()
    await workspace.ok('create', '--name', 'same')
    client = await connect({ socket: workspace.socket })
  })
  afterAll(async () => {
    await client.close()
    await workspace[Symbol.asyncDispose]()
  })

  async function streamed({ args, env, input }: Given): Promise<Outcome> {
    await using command = await client.exec.spawn({ loop: 'same', command: ['sh', '-c', SCRIPT, ...args], env })
    command.stdin.end(input)
    const [stdout, stderr, end] = await Promise.all([buffer(command.stdout), buffer(command.stderr), command.exit])
    return { exitCode: end.exitCode, stdout, stderr }
  }

  async function collected({ args, env, input }: Given): Promise<Outcome> {
    const how = { encoding: 'base64', stdin: input.toString() } as const
    const result = await client.exec.run({ loop: 'same', command: ['sh', '-c', SCRIPT, ...args], env, ...how })
    const [stdout, stderr] = [result.stdout, result.stderr].map((text) => Buffer.from(text, 'base64'))
    return { exitCode: result.exitCode, stdout: stdout ?? input, stderr: stderr ?? input }
  }

  async function byLoopctl({ args, env, input }: Given): Promise<Outcome> {
    const options = Object.entries(env).flatMap(([name, value]) => ['-e', `${name}=${value}`])
    const child = workspace.spawn(['exec', ...options, 'same', '--', 'sh', '-c', SCRIPT, ...args], { stdio: 'pipe' })
    if (child.stdin === null || child.stdout === null || child.stderr === null) throw new Error('loopctl has no pipes')
    child.stdin.end(input)
    const [stdout, stderr, [code]] = await Promise.all([
      buffer(child.stdout),
      buffer(child.stderr),
      once(child, 'close'),
    ])
    return { exitCode: Number(code), stdout, stderr }
  }

  it(`should get the same, write the same and end with the same code, ${ROUNDS} times`, async () => {
    const random = Random.fromEnvironment('LOOPAT_SAME_SEED')
    for (let round = 0; round < ROUNDS; round += 1) {
      const way = random.pick([streamed, streamed, collected, byLoopctl])
      const some = someGiven(random)
      // Text is all that fits into a request.
      const given = way === collected ? { ...some, input: Buffer.from(some.input.toString()) } : some
      const [here, there] = await Promise.all([onHost(given), way(given)])
      const what = `seed ${random.seed}, round ${round}, ${way.name}`
      expect(there.exitCode, what).toBe(here.exitCode)
      expect(there.stdout.equals(here.stdout), what).toBe(true)
      expect(variables(there, given), what).toEqual(variables(here, given))
    }
  })
})
