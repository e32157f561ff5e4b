/** The command that the arguments name: the first word that is no option, after `help` as well. */
export function commandName(argv: readonly string[]): string | undefined {
  const words = argv.filter((word) => !word.startsWith('-'))
  return words[0] === 'help' ? words[1] : words[0]
}

/** As {@link commandName}, with the command of a group behind it: `job wait`. */
export function commandPath(argv: readonly string[]): string | undefined {
  const [first, second] = argv.filter((word) => !word.startsWith('-'))
  return first === 'job' && second !== undefined ? `${first} ${second}` : commandName(argv)
}
