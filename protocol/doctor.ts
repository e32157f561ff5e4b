/** What this host needs to run loops, checked. */
import { z } from 'zod'
import { defineMethod } from './method.ts'

export const DoctorCheck = z.strictObject({
  name: z.string().describe('Stable name of the check, for programs.'),
  label: z.string().describe('What is checked, for people.'),
  status: z
    .enum(['ok', 'warning', 'failed'])
    .describe('`failed`: no loop can run. `warning`: loops run, something is worse than it could be.'),
  message: z.string().describe('What was found.'),
  fix: z.string().nullable().describe('The command or the setting that mends it.'),
})
export type DoctorCheck = z.infer<typeof DoctorCheck>

export const doctorRun = defineMethod({
  method: 'doctor/run',
  summary: 'Check everything a loop needs on this host.',
  description: 'Changes nothing. Runs helper programs of the host to ask for their versions; takes up to some seconds.',
  params: z.strictObject({}),
  result: z.strictObject({
    ready: z.boolean().describe('True when no check failed: a loop can run.'),
    checks: z.array(DoctorCheck),
  }),
  errors: [],
})
