import { constants } from 'node:fs'
import { access } from 'node:fs/promises'
import { openDirectory } from '../lib/pinned-directory.ts'
import { directoryOf } from './command-word.ts'
import { type HostProcess, HostStartError } from './host-process.ts'
import { HOST_EXIT, type HostCommand } from './host-run.ts'

/** One way to run commands. @param cwd path that leads to their directory */
export type StartIn = (command: HostCommand, cwd: string) => HostProcess | Promise<HostProcess>

/**
 * Starts a command in its directory, which is held open meanwhile: what has its name by now does not matter.
 * @throws HostStartError, or the system's error
 */
export async function startInDirectory(command: HostCommand, start: StartIn): Promise<HostProcess> {
  const directory = await openDirectory(command.directory.from, command.directory.names)
  if (directory === undefined) {
    const what = `the directory ${directoryOf(command)} is not there on the host, or a link leads to it`
    throw new HostStartError(HOST_EXIT.notExecutable, what)
  }
  try {
    await access(command.path, constants.X_OK)
    const process = await start(command, `/proc/${globalThis.process.pid}/fd/${directory.fd}`)
    // On a terminal it is entered some time later.
    void process.exited.then(() => directory.close())
    return process
  } catch (error) {
    await directory.close()
    throw error
  }
}
