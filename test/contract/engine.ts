import { afterAll, beforeAll, describe } from 'vitest'
import { containerContract } from './container.ts'
import { eventContract } from './event.ts'
import { execContract } from './exec.ts'
import { imageContract } from './image.ts'
import { networkContract } from './network.ts'
import type { ContractSubject } from './subject.ts'
import { terminalContract } from './terminal.ts'

/**
 * The contract of the engine port, as one suite for every engine.
 * @param open makes the engine; disposed when the suite is over
 */
export function engineContract(open: () => Promise<ContractSubject>): void {
  const opened: ContractSubject[] = []
  const subject = () => {
    const [first] = opened
    if (first === undefined) throw new Error('the engine was not opened')
    return first
  }
  beforeAll(async () => {
    opened.push(await open())
  })
  afterAll(async () => {
    for (const each of opened) await each[Symbol.asyncDispose]()
  })
  describe('containers', () => containerContract(subject))
  describe('commands', () => execContract(subject))
  describe('terminals', () => terminalContract(subject))
  describe('images', () => imageContract(subject))
  describe('networks', () => networkContract(subject))
  describe('events', () => eventContract(subject))
}
