# shellcheck shell=sh
# Functions shared by the scripts that run tests and benchmarks. Sourced after systemd/lib.sh, POSIX sh.

# prepare_tests: all that tests need of this machine and of this checkout, the build apart. Changes nothing the second time.
prepare_tests() {
  # Colour only for a terminal; a CI environment alone is none.
  [ -t 1 ] || export NO_COLOR=1
  need_node
  # What is fetched may fail to come now and then.
  export npm_config_fetch_retries="${npm_config_fetch_retries:-5}"
  sh systemd/prepare-host.sh --tests
  install_dependencies
}

# build: compiles and bundles.
build() {
  say "build"
  npm run --silent build
}

# uids_of NAME: "first last" of each range of user ids that belong to this user, its subordinate ones included.
uids_of() {
  awk -F: -v name="$1" '$1 == name { print $3, $3 }' /etc/passwd
  awk -F: -v name="$1" '$1 == name { print $2, $2 + $3 - 1 }' /etc/subuid
}

# end_processes NAME: kills the processes of this user and of its containers, and nobody else's.
end_processes() {
  ranges=$(uids_of "$1" | tr '\n' ' ')
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    pids=$(grep -s '^Uid:' /proc/[0-9]*/status | awk -v ranges="$ranges" '
      BEGIN { n = split(ranges, bound) }
      { split($1, path, "/"); for (i = 1; i < n; i += 2) if ($2 >= bound[i] && $2 <= bound[i + 1]) print path[3] }')
    [ -n "$pids" ] || return 0
    # shellcheck disable=SC2086 # a list of numbers; one that ended meanwhile is no matter
    kill -KILL $pids 2>/dev/null || :
    sleep 0.2
  done
  warn "processes of $1 do not end: $pids"
}

# remove_user NAME: takes a throw-away user away with all it has.
remove_user() {
  uid=$(user_field "$1" 3) home=$(user_field "$1" 6)
  case $1:$home in loopat-test-*:/*/loopat-test-*) ;; *) die "$1 is no throw-away user" ;; esac
  if [ -e "/var/lib/systemd/linger/$1" ]; then loginctl disable-linger "$1" || :; fi
  end_processes "$1"
  [ ! -d "$home/bed" ] || sh test/harness/systemd-bed.sh --remove "$1" || warn "a cgroup of $1 could not be removed"
  uids_of "$1" | while read -r first last; do
    # Others' files come and go there.
    find /tmp /var/tmp /dev/shm -ignore_readdir_race -xdev -mindepth 1 -maxdepth 1 \
      -uid "+$((first - 1))" -uid "-$((last + 1))" -exec rm -rf --one-file-system {} +
  done
  rm -rf --one-file-system "$home" "/run/user/$uid" || warn "not everything of $1 could be removed"
  userdel "$1" 2>/dev/null || warn "the user $1 could not be removed"
}

# A run that was killed could not clean up; the next one does it. The comment of the user names its run.
remove_stale_users() {
  getent passwd | awk -F: '$1 ~ /^loopat-test-/ { print $1, $5 }' | while read -r name run; do
    [ -d "/proc/$run" ] || { say "removing $name, left over from a test run that was killed" && remove_user "$name"; }
  done
}

# make_test_user: root makes a throw-away user, called $name, with a copy of this checkout in its home, and takes it away
# again when the script ends, with everything it started and stored. Sets traps.
make_test_user() {
  remove_stale_users
  name=loopat-test-$(od -An -N4 -tx4 /dev/urandom | tr -d ' ')
  trap 'remove_user "$name"' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  useradd --create-home --home-dir "/home/$name" --shell /bin/sh --comment "$$" "$name"
  sh systemd/prepare-host.sh --user "$name"
  # The user may not be able to read this checkout, and owns what it tests: git refuses a repository of somebody else.
  tar -cf - . | (cd "/home/$name" && as_user "$name" sh -c 'umask 022 && mkdir tmp loopatd && tar -xf - -C loopatd')
}

# boot_bed: root boots a `systemd --user` for $name, which ends with the user, and sets $bed to its directory. Where that
# is not possible $bed is empty, and the suite that needs it is left out, with a warning; in CI that is an error.
boot_bed() {
  bed=$(user_field "$name" 6)/bed
  sh test/harness/systemd-bed.sh "$name" "$bed" &
  bed_pid=$!
  for _ in $(seq 150); do
    [ ! -e "$bed/ready" ] || return 0
    kill -0 "$bed_pid" 2>/dev/null || break
    sleep 0.1
  done
  bed=''
  no_bed "no systemd could be booted here, for the reason above"
}

# no_bed REASON: the suite that needs a systemd is left out.
no_bed() {
  [ -z "${CI-}" ] || die "the suite \`systemd\` cannot run: $1"
  warn "the suite \`systemd\` is left out: $1"
}

# as_test_user COMMAND...: root runs COMMAND as $name, in that user's own copy of this checkout.
as_test_user() {
  home=$(user_field "$name" 6)
  say "everything else runs as $name"
  # In the background, so that a signal ends the wait at once, and the clean-up then ends the command.
  (cd "$home/loopatd" && as_user "$name" TMPDIR="$home/tmp" LOOPAT_TEST_BED="${bed-}" "$@") &
  wait $!
}

# with_test_user COMMAND...: root runs COMMAND as a throw-away user. Exits with the command's code. Call it last.
with_test_user() {
  make_test_user
  as_test_user "$@"
}
