# What .ci/run is made of. Sourced by it.
passed=0
failed=0
left_out=()
work=$(mktemp -d)
mkdir "$work/bin"
PATH="$work/bin:$PATH"
trap 'rm -rf "$work"' EXIT

# No step may hang for ever; --foreground, so that Ctrl-C ends the step too.
limit=(timeout --foreground --kill-after=10 900)

# step NAME COMMAND...: passes when the command does. Its output is shown when it fails.
step() {
  local name=$1 started=$SECONDS
  shift
  if "${limit[@]}" "$@" >"$work/out" 2>&1; then
    passed=$((passed + 1))
    echo "ok    $name ($((SECONDS - started)) s)"
    return
  fi
  failed=$((failed + 1))
  echo "FAIL  $name ($((SECONDS - started)) s)"
  tail -n 60 "$work/out"
  return 1
}

# tests NAME COMMAND...: runs vitest by the command; each of its tests counts, and so does a run that went wrong as a whole.
tests() {
  local name=$1 started=$SECONDS code ok bad
  shift
  rm -f "$work/tests.json"
  "${limit[@]}" "$@" --reporter=default --reporter=json --outputFile="$work/tests.json" >"$work/out" 2>&1
  code=$?
  read -r ok bad < <(node scripts/count-tests.mjs "$work/tests.json") || { ok=0; bad=1; }
  [ "$bad" -eq 0 ] && { [ "$code" -ne 0 ] || [ "$ok" -eq 0 ]; } && bad=1
  passed=$((passed + ok))
  failed=$((failed + bad))
  if [ "$bad" -eq 0 ]; then
    echo "ok    $name: $ok passed ($((SECONDS - started)) s)"
  else
    echo "FAIL  $name: $ok passed, $bad failed ($((SECONDS - started)) s)"
    sed -n '/ Failed Tests \| Failed Suites \| Unhandled /,$p' "$work/out" | head -n 400 | grep . || tail -n 60 "$work/out"
  fi
}

# figures PATTERN: shows what the step before has measured; PATTERN is sed's address of these lines.
figures() {
  sed -n "$1 s/^/      /p" "$work/out"
}

# client NAME [COMMAND...]: runs test/clients/NAME.test.ts once the command has got what it needs. Where it cannot, the last line that
# the command printed says why the client is left out.
client() {
  local name=$1 started=$SECONDS
  shift
  if [ $# -gt 0 ] && ! "$@" >"$work/out" 2>&1; then
    left_out+=("$name ($(tail -n 1 "$work/out"))")
    return
  fi
  [ $((SECONDS - started)) -gt 1 ] && echo "      $* ($((SECONDS - started)) s)"
  tests "client $name" npx vitest run "test/clients/$name.test.ts"
}

# example NAME [COMMAND...]: adds to those that clients.test.ts runs, once the command has got what it needs.
examples=()
example() {
  local name=$1 started=$SECONDS
  shift
  if [ $# -gt 0 ] && ! "$@" >"$work/out" 2>&1; then
    left_out+=("$name ($(tail -n 1 "$work/out"))")
    return
  fi
  [ $((SECONDS - started)) -gt 1 ] && echo "      $* ($((SECONDS - started)) s)"
  examples+=("$name")
}

# prepare NAME COMMAND PACKAGES: the command is there, and examples/clients/NAME has got and built what it is made of.
prepare() {
  local name=$1
  shift
  have "$@" || return
  "${limit[@]}" "examples/clients/$name/run" && return
  echo "examples/clients/$name cannot be built here"
  return 1
}

# have COMMAND PACKAGES: the command is there, or comes with these packages of apt.
have() {
  local command=$1 root=()
  local -a packages
  read -ra packages <<<"$2"
  command -v "$command" && return
  [ "$(id -u)" -eq 0 ] || root=(sudo -n)
  "${limit[@]}" "${root[@]}" apt-get update -q &&
    "${limit[@]}" "${root[@]}" apt-get install -q -y --no-install-recommends "${packages[@]}" &&
    command -v "$command" && return
  echo "there is no $command, and apt-get cannot get $2"
  return 1
}

# go_tool MODULE@VERSION: builds a program into the PATH of the steps, once.
go_tool() {
  local module=${1%@*}
  [ -x "$work/bin/${module##*/}" ] && return
  have go golang-go || return
  GOBIN="$work/bin" GOFLAGS="-buildvcs=false -p=2" "${limit[@]}" go install "$1" && return
  echo "go cannot build $1"
  return 1
}

# The end: what was left out in one line, then the line that counts.
finish() {
  [ ${#left_out[@]} -eq 0 ] || echo "left out:$(printf ' %s;' "${left_out[@]}")"
  echo "$passed passed, $failed failed"
  [ "$failed" -eq 0 ]
}
