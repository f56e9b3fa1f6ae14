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
  # The secret of test/support/canary.ts, which nothing that the tests start may say.
  grep -n canary-c0ffee-4711 "$work/out" && bad=$((bad + 1))
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

# client NAME [COMMAND...]: adds test/clients/NAME.test.ts to those that are run, once the command has got what it needs.
clients_ready=()
client() {
  get_ready "$@" && clients_ready+=("test/clients/$1.test.ts")
}

# example NAME [COMMAND...]: adds to those that clients.test.ts runs, once the command has got what it needs.
examples=()
example() {
  get_ready "$@" && examples+=("$1")
}

# get_ready NAME [COMMAND...]: gets what a client needs. Where the command ends with 1 that cannot be had on this machine: the client is
# left out, for the reason in the last line that was printed. Everything else is a client that is broken, and counts as a failure.
get_ready() {
  local name=$1 started=$SECONDS code
  shift
  [ $# -gt 0 ] || return 0
  "$@" >"$work/out" 2>&1
  code=$?
  if [ $code -eq 1 ]; then
    left_out+=("$name ($(tail -n 1 "$work/out"))")
  elif [ $code -ne 0 ]; then
    failed=$((failed + 1))
    echo "FAIL  $* ($((SECONDS - started)) s)"
    tail -n 60 "$work/out"
  elif [ $((SECONDS - started)) -gt 1 ]; then
    echo "      $* ($((SECONDS - started)) s)"
  fi
  return $code
}

# prepare NAME COMMANDS PACKAGES [FOLDER]: the toolchain is there, and examples/FOLDER/NAME (FOLDER: clients) has got and built what it is made of.
prepare() {
  local example="examples/${4:-clients}/$1"
  have "$2" "$3" || return 1
  "toolchain_$1" || return 1
  "${limit[@]}" "$example/run" && return
  blame "$1" "$example cannot be built"
}

# blame NAME TEXT: whose fault it is that something could not be built with the toolchain NAME: 1 for a registry that cannot be reached, else 2.
blame() {
  echo "$2"
  "${limit[@]}" bash -c "$(declare -f "reach_$1"); reach_$1" && return 2
  echo "$2: the registry of $1 cannot be reached"
  return 1
}

# toolchain_NAME: whether what is installed is new enough, and whole. reach_NAME: whether its registry answers; nothing that was got before counts.
# From 1.21 on, Go itself gets the version that a go.mod asks for.
toolchain_go() {
  local version
  version=$(cd / && go env GOVERSION)
  [ "$(printf '%s\n' go1.21 "$version" | sort -V | head -n 1)" = go1.21 ] && return
  echo "$version is older than 1.21"
  return 1
}
reach_go() (
  cd / && GOMODCACHE=$(mktemp -d) GOFLAGS=-modcacherw && export GOMODCACHE GOFLAGS
  trap 'rm -rf "$GOMODCACHE"' EXIT
  go list -m google.golang.org/grpc@latest
)
toolchain_python() {
  python3 -c "import ensurepip, venv" && return
  echo "python3 has no venv"
  return 1
}
reach_python() (
  venv=$(mktemp -d)
  trap 'rm -rf "$venv"' EXIT
  python3 -m venv "$venv" && "$venv/bin/pip" download -q --no-cache-dir --no-deps -d "$venv/got" wheel
)
toolchain_java() {
  javac --release 17 -version && return
  echo "javac cannot compile for Java 17"
  return 1
}
reach_java() (
  repository=$(mktemp -d)
  trap 'rm -rf "$repository"' EXIT
  cd / && mvn -q -B "-Dmaven.repo.local=$repository" dependency:get -Dartifact=io.grpc:grpc-bom:LATEST:pom -Dtransitive=false
)

# have COMMANDS PACKAGES: the commands are there, or come with these packages of apt.
have() {
  local root=()
  local -a commands packages
  read -ra commands <<<"$1"
  read -ra packages <<<"$2"
  are_there "${commands[@]}" && return
  [ "$(id -u)" -eq 0 ] || root=(sudo -n)
  "${limit[@]}" "${root[@]}" apt-get update -q &&
    "${limit[@]}" "${root[@]}" apt-get install -q -y --no-install-recommends "${packages[@]}" &&
    are_there "${commands[@]}" && return
  echo "not all of $1 are there, and apt-get cannot get $2"
  return 1
}

are_there() {
  local command
  for command in "$@"; do command -v "$command" || return; done
}

# go_tool MODULE@VERSION: builds a program into the PATH of the steps, once.
go_tool() {
  local module=${1%@*}
  [ -x "$work/bin/${module##*/}" ] && return
  have go golang-go || return 1
  toolchain_go || return 1
  GOBIN="$work/bin" GOFLAGS="-buildvcs=false -p=2" "${limit[@]}" go install "$1" && return
  blame go "go cannot build $1"
}

# The end: what was left out in one line, then the line that counts.
finish() {
  [ ${#left_out[@]} -eq 0 ] || echo "left out:$(printf ' %s;' "${left_out[@]}")"
  echo "$passed passed, $failed failed"
  [ "$failed" -eq 0 ]
}
