import type { Progress } from '@loopatd/protocol'

/** Takes the progress of one long call. Must not throw; may be called after the call has ended, to no effect. */
export type OnProgress = (progress: Progress) => void

/** For callers that want no progress. */
export const noProgress: OnProgress = () => undefined
