import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type AgentSpec, commandText } from '../../../daemon/exec/agent-text.ts'

const run = promisify(execFile)
const SHELLS = [['/bin/dash'], ['/bin/bash'], ['/bin/bash', '--posix'], ['/bin/busybox', 'sh']].filter(
  ([program = '']) => existsSync(program),
)

describe.each(SHELLS.map((shell) => [shell.join(' '), shell] as const))(
  'the text of a command in %s',
  (_name, shell) => {
    let room: string

    beforeEach(async () => {
      room = await mkdtemp(join(tmpdir(), 'loopat-text-'))
      await mkdir(join(room, '3'))
    })
    afterEach(() => rm(room, { recursive: true }))

    /** Has a shell read the text as that of slot 3 does in turn 5, and become the command. */
    async function become(spec: AgentSpec): Promise<{ stdout: string; stderr: string; status: string }> {
      const [file = '', ...args] = shell
      await writeFile(join(room, 'text'), commandText(spec))
      const script = '. "$0"; [ "$loopat_command" = whole ] || exit 125; exec "$@"'
      await run(file, [...args, '-c', script, join(room, 'text'), '3', '1', '5', room])
      const read = (name: string) => readFile(join(room, name), 'utf8')
      return { stdout: await read('3/out'), stderr: await read('3/err'), status: await read('status') }
    }

    it('should set variables, and say nothing of a locale that is not there', async () => {
      const env = { A: "it's", LC_ALL: 'xx_YY.UTF-8', LANG: 'xx_YY', LC_CTYPE: 'zz' }
      const command = ['sh', '-c', 'echo "$A|$LC_ALL|$LANG|$LC_CTYPE|$1"; echo err >&2', 'sh', ' x ']
      const { stdout, stderr, status } = await become({ command, env, stdin: false })
      expect(stdout).toBe("it's|xx_YY.UTF-8|xx_YY|zz| x \n")
      expect(stderr).toBe('err\n')
      expect(status).toMatch(/^s 3 5 \d+\n$/)
    })
  },
)
