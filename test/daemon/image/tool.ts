import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { BootstrapTools } from '../../../daemon/image/bootstrap-tools.ts'

/** What the stand-in for mmdebstrap does when it is asked for a system. */
export type ToolBehaviour = 'succeed' | 'fail' | 'hang' | 'refuse'

/** A stand-in for mmdebstrap and a directory for its temporary files. */
export interface FakeTool extends AsyncDisposable {
  readonly tools: BootstrapTools
  readonly directory: string
  behave(behaviour: ToolBehaviour): Promise<void>
  /** Arguments of every call for a system, one line each. */
  calls(): Promise<string[]>
  /** Pids of the tool and of its child, when it hangs. */
  pids(): Promise<number[]>
  /** Names of what is left in the directory for temporary files. */
  leftovers(): Promise<string[]>
}

const script = (directory: string) => `#!/bin/sh
behaviour=$(cat '${directory}/behaviour')
if [ "$1" = --unshare-helper ]; then
  shift
  if [ "$behaviour" = refuse ]; then echo 'E: unshare: Operation not permitted' >&2; exit 1; fi
  exec "$@"
fi
echo "$*" >>'${directory}/calls'
touch "$TMPDIR/system"
echo 'I: running apt-get update...' >&2
case "$behaviour" in
  succeed) echo 'I: creating tarball...' >&2; echo tar; rm "$TMPDIR/system" ;;
  fail) echo half; echo 'E: no such suite' >&2; exit 25 ;;
  hang) sleep 600 & echo "$$ $!" >'${directory}/pids.new'; mv '${directory}/pids.new' '${directory}/pids'; wait ;;
esac
`

/** Makes a {@link FakeTool} that succeeds. */
export async function makeFakeTool(): Promise<FakeTool> {
  const directory = await mkdtemp(join(tmpdir(), 'loopat-tool-'))
  const temporary = join(directory, 'tmp')
  const command = join(directory, 'mmdebstrap')
  await mkdir(temporary)
  await writeFile(command, script(directory))
  await chmod(command, 0o755)
  const lines = async (name: string): Promise<string[]> => {
    const names = await readdir(directory)
    if (!names.includes(name)) return []
    return (await readFile(join(directory, name), 'utf8')).trim().split('\n')
  }
  const behave = (behaviour: ToolBehaviour) => writeFile(join(directory, 'behaviour'), behaviour)
  await behave('succeed')
  return {
    tools: { command, env: { PATH: '/usr/bin:/bin' }, tmpDir: temporary },
    directory,
    behave,
    calls: () => lines('calls'),
    pids: async () => (await lines('pids')).flatMap((line) => line.split(' ').map(Number)),
    leftovers: () => readdir(temporary),
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  }
}
