/** Shells that there are scripts for. */
export const SHELLS = ['bash', 'fish', 'zsh'] as const
export type Shell = (typeof SHELLS)[number]

/** A line of `__complete` that asks the shell to complete files instead. */
export const FILES = ':files'

/*
 * The scripts hold no knowledge of loopctl: they hand the words up to the cursor to `loopctl __complete`, which answers
 * with one candidate per line, a tab and what it means. So they never have to be made again.
 */

const BASH = `# loopctl completion for bash
_loopctl() {
  local line
  COMPREPLY=()
  while IFS= read -r line; do
    if [[ $line == '${FILES}' ]]; then
      compopt -o default
    else
      COMPREPLY+=("\${line%%$'\\t'*}")
    fi
  done < <("\${COMP_WORDS[0]}" __complete -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -F _loopctl loopctl
`

const ZSH = `#compdef loopctl
# loopctl completion for zsh
_loopctl() {
  local line
  local -a candidates
  for line in "\${(@f)$("$words[1]" __complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
    if [[ $line == '${FILES}' ]]; then
      _files
    elif [[ -n $line ]]; then
      candidates+=("\${\${line%%$'\\t'*}//:/\\\\:}:\${line#*$'\\t'}")
    fi
  done
  _describe -V loopctl candidates
}
if [[ $funcstack[1] == _loopctl ]]; then
  _loopctl "$@"
else
  compdef _loopctl loopctl
fi
`

const FISH = `# loopctl completion for fish
function __loopctl_complete
  set -l before (commandline -opc)
  set -l current (commandline -ct)
  for line in ($before[1] __complete -- $before[2..-1] "$current" 2>/dev/null)
    if test "$line" = '${FILES}'
      __fish_complete_path "$current"
    else
      echo $line
    end
  end
end
complete -c loopctl -f -a '(__loopctl_complete)'
`

const SCRIPTS: Readonly<Record<Shell, string>> = { bash: BASH, fish: FISH, zsh: ZSH }

/** The completion script of a shell. */
export function completionScript(shell: Shell): string {
  return SCRIPTS[shell]
}

/** Where a shell is told to use the script, for people who read the help. */
export const INSTALL_HELP = `
Try it:    source <(loopctl completion bash)
Keep it:   bash  loopctl completion bash > ~/.local/share/bash-completion/completions/loopctl
           zsh   loopctl completion zsh > "\${fpath[1]}/_loopctl"
           fish  loopctl completion fish > ~/.config/fish/completions/loopctl.fish`
