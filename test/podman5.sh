#!/bin/sh
# npm run test:podman5: the suites that need podman, on podman 5 from Debian 13, whatever this machine has itself.
#
#   npm run test:podman5 [-- PATH... and other words for vitest]
#
# Root only. Debian 13 is made from its packages into a directory; in a mount namespace of its own that directory takes
# the place of this machine's root, with the kernel, the network and the throw-away user of the run. All of it is
# inside: Node.js, the daemon, podman and its helpers. So starting, adopting, killing and losing the podman service are
# tested there, too, and prepare-host.sh on that release. LOOPAT_TEST_PROJECTS names the projects of
# test/vitest.config.ts, default: podman and deep; LOOPAT_TEST_WITHOUT is a pattern of files to leave out. Then the
# tests of commands run in images of other kinds, all that test/kinds.sh knows or those that LOOPAT_TEST_KINDS names.
# Everything is removed afterwards, unless LOOPAT_TEST_CACHE names a directory of root's: then the system stays there
# for the next run.
set -eu
cd "$(dirname "$0")/.."
. systemd/lib.sh
. test/lib.sh

RELEASE=trixie
# Where systems are made; the number after the dot is that of the run.
MAKING=/var/tmp/loopat-test-$RELEASE

# enter ROOT [NAME]: makes ROOT the root directory of this process' mount namespace, and the checkout its /mnt. Of this
# machine it holds /proc, /sys, /dev and how names are resolved; of the user NAME the home, the runtime directory and
# the ids. pivot_root, since the kernel makes no user namespaces for processes in a chroot.
enter() {
  mount --rbind "$1" "$1"
  for there in proc sys dev; do mount --rbind "/$there" "$1/$there"; done
  mount -t tmpfs -o mode=0755 tmpfs "$1/run"
  mount --bind . "$1/mnt"
  for there in resolv.conf hosts; do
    touch "$1/etc/$there"
    cat "/etc/$there" >"$1/run/$there"
    mount --bind "$1/run/$there" "$1/etc/$there"
  done
  [ $# = 1 ] || lend_user "$1" "$2"
  cd "$1"
  pivot_root . .
  umount -l .
  cd /mnt
}

# lend_user ROOT NAME: makes a user of this machine known below ROOT. What it leaves in /tmp goes with its home.
lend_user() {
  for there in passwd group subuid subgid; do
    touch "$1/etc/$there"
    { cat "$1/etc/$there" && grep "^$2:" "/etc/$there"; } >"$1/run/$there"
    mount --bind "$1/run/$there" "$1/etc/$there"
  done
  mount -t tmpfs -o mode=0755 tmpfs "$1/home"
  home=$(user_field "$2" 6) runtime=$(runtime_dir "$2")
  mkdir -p "$1$home" "$1$runtime"
  mount --bind "$home" "$1$home"
  mount --bind "$runtime" "$1$runtime"
  for there in tmp var/tmp; do mount --bind "$home/tmp" "$1/$there"; done
}

# make_system ROOT: Debian 13 with Node.js and all that prepare-host.sh wants there.
make_system() {
  mmdebstrap --quiet --variant=minbase --include=ca-certificates,nodejs --aptopt='APT::Install-Recommends "false"' \
    "$RELEASE" "$1"
  enter "$1"
  sh systemd/prepare-host.sh --tests
  apt-get clean
}

# run_suites ROOT NAME [WORDS FOR VITEST...]
run_suites() {
  enter "$1" "$2"
  name=$2
  shift 2
  version=$(as_user "$name" podman --version)
  case $version in 'podman version 5.'*) ;; *) die "this is not podman 5: $version" ;; esac
  say "the suites run as $name with $version and Node.js $(node --version)"
  # The packages are npm's matter, which Debian's Node.js comes without, and the bench measures this machine. The suite
  # `systemd` boots one of this machine, and is about the daemon and its units: which podman runs makes no difference.
  without='test/{e2e/package,podman/bench,systemd/place}.test.ts'
  as_user "$name" LOOPAT_TEST_WITHOUT="${LOOPAT_TEST_WITHOUT-$without}" \
    sh "$(user_field "$name" 6)/loopatd/test/suites.sh" "${LOOPAT_TEST_PROJECTS:-podman deep}" "$@"
  # shellcheck disable=SC2086 # words
  [ $# != 0 ] || as_user "$name" LOOPAT_TEST_PROJECTS="${LOOPAT_TEST_PROJECTS-}" \
    sh "$(user_field "$name" 6)/loopatd/test/kinds.sh" ${LOOPAT_TEST_KINDS-}
}

# attend COMMAND...: runs COMMAND in the background: a signal ends the wait at once, and clean_up then ends the command.
attend() {
  "$@" &
  attended=$! code=0
  wait "$attended" || code=$?
  attended=''
  return "$code"
}

# unshare ignores gentler signals; what it started ends with it, but not at the same instant.
clean_up() {
  [ -z "$attended" ] || kill -KILL "$attended" 2>/dev/null || :
  remove_user "$name"
  remove_system "$MAKING.$$" 2>/dev/null || { sleep 1 && remove_system "$MAKING.$$"; }
}

remove_system() { rm -rf --one-file-system "$1"; }

# A run that was killed could not clean up; the next one does it.
remove_stale_systems() {
  for stale in "$MAKING".*; do
    [ ! -d "$stale" ] || [ -d "/proc/${stale##*.}" ] || remove_system "$stale"
  done
}

case ${1-} in
  --make-system | --run-suites) # in namespaces that the lines below make
    task=$1
    shift
    case $task in --make-system) make_system "$@" ;; *) run_suites "$@" ;; esac
    exit
    ;;
esac

is_root || die "test:podman5 needs root, to make another system; it drops it before it runs anything of the project"
prepare_tests
build

remove_stale_systems
attended=''
make_test_user
trap clean_up EXIT
# A kept system holds what prepare-host.sh wanted when it was made.
system=${LOOPAT_TEST_CACHE:+"$LOOPAT_TEST_CACHE/$RELEASE-$(cksum <systemd/prepare-host.sh | cut -d ' ' -f 1)"}
if [ ! -d "$system" ]; then
  say "making a Debian system with podman 5"
  # A process namespace, so that nothing of it outlives the first process. Packages may fail to come now and then.
  for try in 1 2 3; do
    attend unshare --mount --pid --fork --kill-child --mount-proc sh test/podman5.sh --make-system "$MAKING.$$" && break
    [ "$try" != 3 ] || die "the system could not be made"
    remove_system "$MAKING.$$"
  done
  if [ -z "$system" ]; then
    system=$MAKING.$$
  else
    mkdir -p "$LOOPAT_TEST_CACHE"
    mv -T "$MAKING.$$" "$system"
  fi
fi
attend unshare --mount sh test/podman5.sh --run-suites "$system" "$name" "$@"
