/**
 * The program of every loop container, fixed from the first day on: a changed command recreates every loop.
 *
 * It runs the agent when the daemon has put one into the control directory, and restarts it after a pause; else it
 * sleeps. The shell has no trap and is not process 1 (an init is), so TERM ends it at once, also in the middle of a
 * sleep. A missing `sleep` ends it too, rather than let it spin. For dash and busybox sh alike.
 */
const SCRIPT = [
  'while :; do',
  'if [ -f /loopat/control/agent ]; then /bin/sh /loopat/control/agent; sleep 1 || exit 1;',
  'else sleep 3600 || exit 1; fi;',
  'done',
].join(' ')

/** Argument vector of the launcher. */
export const LAUNCHER: readonly string[] = ['/bin/sh', '-c', SCRIPT]
