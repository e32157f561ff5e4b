/** Places inside a loop. */

/** Home inside; the image's passwd says the same (D1). */
export const HOME = '/home/loopat'

/** The workdir inside (rule W-5). */
export function workdirInside(id: string): string {
  return `/loopat/loop/${id}/workdir`
}
