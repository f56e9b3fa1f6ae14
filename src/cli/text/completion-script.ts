// Each hands the words up to the cursor to `stint __complete --`, which prints what the last one may become, a line each. Where that is
// nothing, the shell completes files.

// Bash breaks words at : and = too, which addresses and ids have. So the line is taken apart at blanks alone, and what bash has as words
// of their own is cut off the candidates.
const bash = `_stint() {
  local line="\${COMP_LINE:0:COMP_POINT}"
  local -a words
  read -ra words <<<"$line"
  [[ $line == *[[:space:]] ]] && words+=("")
  local last="\${words[\${#words[@]}-1]}"
  local before="\${last%"\${last##*[:=]}"}"
  local IFS=$'\\n' candidate
  COMPREPLY=()
  while read -r candidate; do
    COMPREPLY+=("\${candidate#"$before"}")
  done < <("\${words[0]}" __complete -- "\${words[@]:1}" 2>/dev/null)
}
complete -o bashdefault -o default -F _stint stint
`;

const zsh = `#compdef stint
_stint() {
  local -a candidates
  candidates=("\${(@f)$("\${words[1]}" __complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  candidates=(\${candidates:#})
  if (( \${#candidates} )); then
    compadd -- "\${candidates[@]}"
  else
    _files
  fi
}
if [[ \${funcstack[1]} == _stint ]]; then
  _stint "$@"
else
  compdef _stint stint
fi
`;

const fish = `function __stint_complete
  set -l words (commandline -opc) (commandline -ct)
  set -l candidates ($words[1] __complete -- $words[2..-1] 2>/dev/null)
  if test (count $candidates) -gt 0
    printf '%s\\n' $candidates
  else
    __fish_complete_path (commandline -ct)
  end
end
complete -c stint -f -a '(__stint_complete)'
`;

/** The script that has a shell complete the command line, by the shell's name. */
export const completionScripts = { bash, zsh, fish };
