import type { DoctorCheck } from '@loopatd/protocol'

type Named = Pick<DoctorCheck, 'name' | 'label'>

/** All is well. */
export function ok(check: Named, message: string): DoctorCheck {
  return { ...check, status: 'ok', message, fix: null }
}

/** Loops run, something is worse than it could be. */
export function warning(check: Named, message: string, fix: string | null): DoctorCheck {
  return { ...check, status: 'warning', message, fix }
}

/** No loop can run. */
export function failed(check: Named, message: string, fix: string | null): DoctorCheck {
  return { ...check, status: 'failed', message, fix }
}

/** Reports whether a dotted version, found anywhere in the text, is at least the wanted one. */
export function atLeast(text: string, wanted: readonly number[]): boolean {
  const found = (/\d+(?:\.\d+)+/.exec(text)?.[0] ?? '').split('.').map(Number)
  for (const [index, part] of wanted.entries()) {
    const mine = found[index] ?? 0
    if (mine !== part) return mine > part
  }
  return true
}
