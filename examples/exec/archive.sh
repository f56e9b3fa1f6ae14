#!/bin/sh
# Archives a directory, as a command that Stint runs for a task (docs/operating.md, "Commands as tasks"):
#
#   archive.sh DIRECTORY TARGET
#
# The archive is TARGET/TASK.tar.gz, TASK being the task's id. Its progress is in files and directories; its result is
# {"path": that of the archive, "size": its bytes, "sha256": its digest}.
#
# It may be killed at any moment and run again: it writes to a file of its own beside the archive and renames that when it is
# whole, so TARGET has the archive of before or the new one, and never a part of one. What was begun is begun anew, as nobody
# can tell whether the directory is still the same.
set -eu
unset CDPATH

# printf and not echo: some shells take "\n" in a name for a line break.
say() {
  printf '%s\n' "$1"
}

fail() {
  say "::error $1"
  exit 1
}

json_text() {
  printf '"%s"' "$(printf '%s' "$1" | sed 's/[\\"]/\\&/g')"
}

digest() {
  if command -v sha256sum >/dev/null; then
    sha256sum <"$1" | cut -d ' ' -f 1
  elif command -v shasum >/dev/null; then
    shasum -a 256 <"$1" | cut -d ' ' -f 1
  else
    node -e 'const hash = require("crypto").createHash("sha256");
      require("fs").createReadStream(process.argv[1]).on("data", (d) => hash.update(d)).on("end", () => console.log(hash.digest("hex")))' "$1"
  fi
}

[ $# -eq 2 ] || fail "usage: archive.sh DIRECTORY TARGET"
[ -d "$1" ] || fail "there is no directory $1"
source=$(cd -P "$1" && pwd) || fail "$1 cannot be entered"
mkdir -p "$2" || fail "$2 cannot be made"
target=$(cd -P "$2" && pwd) || fail "$2 cannot be entered"
case $target/ in
"${source%/}"/*) fail "$target is in $source: an archive cannot have itself in it" ;;
esac
archive=$target/$STINT_TASK_ID.tar.gz
part=$target/.$STINT_TASK_ID.part

# Stopped: the part is of no use to anybody. Killed, it stays until the next attempt overwrites it.
trap 'rm -f "$part"; exit 143' TERM
trap 'rm -f "$part"' EXIT

[ "$STINT_ATTEMPT" -eq 1 ] || say "attempt $STINT_ATTEMPT: the archive is begun anew; ${STINT_PROGRESS:-nothing} was done before"

# Counted like this, a name with a line break in it is one.
total=$(find "$source" -exec sh -c 'for each do echo; done' sh {} + | wc -l | tr -d ' ')
say "archiving $source: $total files and directories"
say "::progress 0/$total"

# tar names what it adds, a line each: GNU's on its output as "./NAME", BSD's among its errors as "a ./NAME". All else it says is for the
# log. The last line is its exit status. So much of the progress is said as can be seen.
{
  code=0
  tar -czvf "$part" -C "$source" . 2>&1 || code=$?
  say "//exit $code"
} | {
  count=0
  shown=0
  code=1
  while IFS= read -r line; do
    case $line in
    ./* | "a ."*) ;;
    "//exit "*)
      code=${line#"//exit "}
      continue
      ;;
    *)
      say "$line" >&2
      continue
      ;;
    esac
    [ "$count" -ge "$total" ] || count=$((count + 1))
    if [ $((count * 200 / total)) -ne "$shown" ]; then
      shown=$((count * 200 / total))
      say "::progress $count/$total ${line#*./}"
    fi
  done
  exit "$code"
} || fail "tar ended with $?; what it said is in the log"

size=$(wc -c <"$part" | tr -d ' ')
sha256=$(digest "$part")
mv -f "$part" "$archive"
say "::progress $total/$total"
say "::result {\"path\": $(json_text "$archive"), \"size\": $size, \"sha256\": \"$sha256\"}"
