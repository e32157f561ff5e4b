import type { DoctorCheck, ResultOf } from '@loopatd/protocol'
import { EXIT, isLoopatError, type LoopatError } from '@loopatd/protocol/error'
import type { Command } from 'commander'
import { type Colour, paint } from '../colour.ts'
import type { Context } from '../context.ts'
import { count, printable } from '../text.ts'

const MARKS: Readonly<Record<DoctorCheck['status'], { readonly mark: string; readonly colour: Colour }>> = {
  ok: { mark: 'ok  ', colour: 'green' },
  warning: { mark: 'warn', colour: 'yellow' },
  failed: { mark: 'FAIL', colour: 'red' },
}

/** `loopctl doctor` */
export function configure(command: Command, context: Context): void {
  command.option('--json', 'one object').action((options: { json?: boolean }) => doctor(options, context))
}

async function doctor({ json }: { json?: boolean }, context: Context): Promise<void> {
  const report = await examine(context)
  if (!report.ready) context.exitCode = EXIT.unavailable.code
  if (json) {
    context.output.json(report)
    return
  }
  for (const check of report.checks) context.output.text(describe(check, context.output.coloured))
  const toMend = report.checks.filter(({ status }) => status === 'failed').length
  context.output.note(report.ready ? 'Ready: a loop can run.' : `Not ready: ${count(toMend, 'thing')} to mend.`)
}

/** A daemon that does not even start is a finding like any other, with its own words on what to do. */
async function examine(context: Context): Promise<ResultOf<'doctor/run'>> {
  try {
    return await context.withClient((client) => client.doctor.run({ signal: context.signal }))
  } catch (error) {
    if (!isLoopatError(error) || error.code === 'cancelled') throw error
    return { ready: false, checks: [daemonCheck(error)] }
  }
}

function daemonCheck(error: LoopatError): DoctorCheck {
  return { name: 'daemon', label: 'the daemon', status: 'failed', message: error.message, fix: error.next ?? null }
}

function describe({ status, label, message, fix }: DoctorCheck, coloured: boolean): string {
  const { mark, colour } = MARKS[status]
  const head = `${coloured ? paint(colour, mark) : mark}  ${printable(label)}: ${printable(message)}\n`
  return fix === null || status === 'ok' ? head : `${head}      → ${printable(fix)}\n`
}
