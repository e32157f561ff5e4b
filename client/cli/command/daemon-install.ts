import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, realpath, rm, rmdir, writeFile } from 'node:fs/promises'
import { userInfo } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { findDaemon, hasManager, isActive, isInstalled, systemctl, type Units, unitsOf } from '@loopatd/client'
import { LoopatError } from '@loopatd/protocol/error'
import type { Command } from 'commander'
import { ensureStartable } from '../check-program.ts'
import type { Context } from '../context.ts'
import { stopBackground } from './daemon-stop.ts'

/** First line of every file that is written here; one without it is somebody else's. */
const MARK =
  '# Written by `loopctl daemon install`; `loopctl daemon uninstall` removes it. Changes: systemctl --user edit.'

/** `loopctl daemon install` and `loopctl daemon uninstall` */
export function addInstallCommands(command: Command, context: Context): void {
  command
    .command('install')
    .description("let the user's systemd run the daemon and hold its socket; LOOPAT_HOME says for which workspace")
    .action(() => install(context))
  command
    .command('uninstall')
    .description('take the daemon out of systemd again and stop it; loops keep running')
    .action(() => removeInstallation(context))
}

async function install(context: Context): Promise<void> {
  const { env, signal, output } = context
  const workspace = await context.workspace()
  if (!(await hasManager(env))) {
    throw new LoopatError('config_invalid', "no systemd of this user answers, so the daemon can't be installed", {
      next: 'Without it loopctl runs the daemon in the background: loopctl daemon start. With `su`, log in anew instead.',
    })
  }
  // A daemon that runs is about to be stopped, here or below.
  await ensureStartable(env, signal)
  const units = unitsOf(workspace, env)
  const changed = await writeUnits(units, workspace.home, env)
  await systemctl(['daemon-reload'], env, signal)
  if (changed) await systemctl(['stop', units.socket, units.service], env, signal)
  // Behind an active socket is the unit's own daemon; without one, a daemon in the background would be in the way.
  if (!(await isActive(units.socket, env))) await stopBackground(context)
  await systemctl(['enable', '--quiet', '--now', units.socket, units.service], env, signal)
  output.line(units.service)
  if (!existsSync(`/var/lib/systemd/linger/${userInfo().username}`)) {
    output.note('The daemon ends with your last session. To let it, and your loops, go on: loginctl enable-linger')
  }
}

/** Takes the daemon out of systemd and stops it. */
export async function removeInstallation(context: Context): Promise<void> {
  const { env, signal, output } = context
  const units = unitsOf(await context.workspace(), env)
  if (!isInstalled(units)) {
    output.note('The daemon is not installed.')
    return
  }
  for (const path of units.files) await refuseForeign(path)
  const managed = await hasManager(env)
  if (managed) await systemctl(['disable', '--quiet', '--now', units.socket, units.service], env, signal)
  else await removeLinks(units)
  await removeUnits(units)
  if (managed) await systemctl(['daemon-reload'], env, signal)
}

/** @returns whether a file was another one before */
async function writeUnits(units: Units, home: string, env: Context['env']): Promise<boolean> {
  const program = findDaemon(env)
  if (program === undefined) {
    throw new LoopatError('config_invalid', 'the program loopatd is not found', {
      next: 'Install @loopatd/daemon, or set LOOPATD to the path of loopatd.',
    })
  }
  const templates = await findUnits(program)
  const texts = new Map<string, string>()
  for (const path of units.files) {
    texts.set(path, fillIn(await readFile(join(templates, basename(path)), 'utf8'), program, env.PATH))
  }
  if (units.dropIn !== undefined) texts.set(units.dropIn, homeDropIn(home))
  const changed = []
  for (const path of texts.keys()) await refuseForeign(path)
  for (const [path, text] of texts) {
    if ((await textOf(path)) === text) continue
    changed.push(path)
    await mkdir(dirname(path), { recursive: true })
    await writeFile(path, text)
  }
  return changed.length > 0
}

/** The shipped units: in the daemon's package when it is installed, at the top of the checkout otherwise. */
async function findUnits(program: string): Promise<string> {
  const bin = dirname(await realpath(program))
  const found = ['../systemd', '../../systemd'].map((path) => join(bin, path)).find((path) => existsSync(path))
  if (found !== undefined) return found
  throw new LoopatError('config_invalid', `the systemd units are not found beside ${program}`, {
    next: 'Install @loopatd/daemon again, or set LOOPATD to the path of its loopatd.',
  })
}

/** Writes a value as systemd reads it: in quotes, in which `%` would begin a specifier. */
export function quote(value: string): string {
  return `"${value.replace(/[\\"]/g, '\\$&').replaceAll('%', '%%')}"`
}

/**
 * A unit for this host.
 * @param text the shipped unit
 * @param program absolute path of loopatd
 * @param path the PATH in which loopatd finds Node.js, podman and git; its relative parts are left out
 */
export function fillIn(text: string, program: string, path: string | undefined): string {
  const absolute = (path ?? '').split(':').filter((part) => part.startsWith('/'))
  const environment = absolute.length > 0 ? `\nEnvironment=${quote(`PATH=${absolute.join(':')}`)}` : ''
  return `${MARK}\n${text.replace(/^ExecStart=loopatd$/m, () => `ExecStart=${quote(program)}${environment}`)}`
}

/** What makes an instance of the templates the daemon of a home. */
export function homeDropIn(home: string): string {
  return `${MARK}\n[Service]\nEnvironment=${quote(`LOOPAT_HOME=${home}`)}\n`
}

async function textOf(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  }
}

async function refuseForeign(path: string): Promise<void> {
  const text = await textOf(path)
  if (text === undefined || text.startsWith(MARK)) return
  throw new LoopatError('config_invalid', `${path} was not written by loopctl and stays as it is`, {
    next: 'Move it away, then try again.',
  })
}

/** What `systemctl disable` would remove, where there is nobody to ask. */
async function removeLinks({ directory, service, socket }: Units): Promise<void> {
  await rm(join(directory, 'default.target.wants', service), { force: true })
  await rm(join(directory, 'sockets.target.wants', socket), { force: true })
}

/** Templates stay as long as another workspace uses them. */
async function removeUnits({ directory, files, dropIn }: Units): Promise<void> {
  if (dropIn !== undefined) {
    await rm(dropIn)
    if ((await readdir(dirname(dropIn))).length === 0) await rmdir(dirname(dropIn))
    const others = await readdir(directory)
    if (others.some((name) => /^loopatd@.+\.service\.d$/.test(name))) return
  }
  for (const path of files) await rm(path)
}
