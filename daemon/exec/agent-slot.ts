import { closeSync, readSync, writeSync } from 'node:fs'
import { Socket } from 'node:net'
import { join } from 'node:path'
import type { Writable } from 'node:stream'
import { errorCode } from '../lib/error-code.ts'
import { type FifoEnd, openFifo } from '../lib/fifo.ts'
import { type AgentSpec, commandText } from './agent-text.ts'

/** Pipes of a slot. */
export const SLOT_PIPES = ['command0', 'command1', 'in', 'out', 'err'] as const
const COMMANDS = ['command0', 'command1'] as const

/** Reads of left-over output before a slot is given up for now. */
const MAX_LEFTOVERS = 64

/** Milliseconds for which pipes are held open for those who wait to open them. */
const POKE_MS = 500

/** The host's ends of a command's pipes. Whoever gets them closes them. */
export interface SlotPipes {
  /** Reading ends. */
  readonly out: number
  readonly err: number
  /** Writing end, and what keeps the pipe until the command has it; only with stdin. */
  readonly input: { readonly write: number; readonly hold: number } | undefined
  /** Resolves when the command was handed over, false when nobody was there to take it. */
  readonly sent: Promise<boolean>
}

/**
 * What came of opening. `later`: its shell is not quite there; `used`: an earlier command's children still use it, or it
 * cannot be opened now.
 */
export type SlotOpening = SlotPipes | 'later' | 'used'

/**
 * Hands a command over to the shell that waits in a slot.
 * @param directory the slot on the host
 * @param side which pipe it waits at
 */
export function openSlot(directory: string, side: 0 | 1, spec: AgentSpec): SlotOpening {
  const fds: number[] = []
  const open: Opening['open'] = (name, end) => {
    const fd = openFifo(join(directory, name), end)
    if (fd !== undefined) fds.push(fd)
    return fd
  }
  const giveUp: Opening['giveUp'] = (why) => {
    for (const fd of fds) closeSync(fd)
    return why
  }
  try {
    return openPipes(spec, { open, giveUp, side })
  } catch (error) {
    // Such as too many open files.
    if (errorCode(error) === undefined) throw error
    return giveUp('used')
  }
}

interface Opening {
  readonly open: (name: (typeof SLOT_PIPES)[number], end: FifoEnd) => number | undefined
  readonly giveUp: (why: 'later' | 'used') => 'later' | 'used'
  readonly side: 0 | 1
}

function openPipes(spec: AgentSpec, { open, giveUp, side }: Opening): SlotOpening {
  const out = open('out', 'read')
  const err = open('err', 'read')
  if (out === undefined || err === undefined) return giveUp('later')
  if (!isUnused(out) || !isUnused(err)) return giveUp('used')
  if (spec.stdin && open('in', 'write') !== undefined) return giveUp('used')
  const hold = spec.stdin ? open('in', 'hold') : undefined
  const write = spec.stdin ? open('in', 'write') : undefined
  const command = open(COMMANDS[side], 'write')
  if (command === undefined) return giveUp('later')
  const input = hold === undefined || write === undefined ? undefined : { hold, write }
  return { out, err, input, sent: send(command, Buffer.from(commandText(spec))) }
}

/**
 * Ends the wait of shells for commands that nobody will send, or for whom nobody listens any more: they make way for
 * others, which tell of themselves, or end with their room.
 */
export function pokeSlot(directory: string): void {
  const held = [
    ...COMMANDS.map((name) => openFifo(join(directory, name), 'hold')),
    openFifo(join(directory, 'in'), 'hold'),
    openFifo(join(directory, 'out'), 'read'),
    openFifo(join(directory, 'err'), 'read'),
  ]
  const letGo = (fds: readonly (number | undefined)[]) => {
    for (const fd of fds) if (fd !== undefined) closeSync(fd)
  }
  // Who opens a pipe for commands right now still finds the other end, and then the end of what comes through it.
  setTimeout(letGo, POKE_MS / 10, held.splice(0, COMMANDS.length))
  setTimeout(letGo, POKE_MS, held)
}

/** Makes a stream of a pipe's writing end. A failure is no news: who reads has ended. */
export function inputOf(fd: number): Writable {
  const socket = new Socket({ fd, readable: false, writable: true })
  socket.on('error', () => undefined)
  return socket
}

/**
 * Drops what is left in a pipe.
 * @returns whether nobody can write to it any more
 */
function isUnused(fd: number): boolean {
  const buffer = Buffer.allocUnsafe(4_096)
  try {
    for (let reads = 0; reads < MAX_LEFTOVERS; reads += 1) if (readSync(fd, buffer) === 0) return true
    return false
  } catch (error) {
    if (errorCode(error) === 'EAGAIN') return false
    throw error
  }
}

/** Most commands fit into the pipe, and are gone at once. */
function send(fd: number, text: Buffer): Promise<boolean> {
  let sent = 0
  try {
    while (sent < text.length) sent += writeSync(fd, text, sent)
    closeSync(fd)
    return Promise.resolve(true)
  } catch (error) {
    if (errorCode(error) !== 'EAGAIN') {
      closeSync(fd)
      return Promise.resolve(false)
    }
  }
  return new Promise((resolve) => {
    const socket = new Socket({ fd, readable: false, writable: true })
    socket.once('error', () => resolve(false))
    socket.once('close', () => resolve(true))
    socket.end(text.subarray(sent))
  })
}
