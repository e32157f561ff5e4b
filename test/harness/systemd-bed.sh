#!/bin/sh
# Boots a real `systemd --user` for an unprivileged user, on a machine with or without systemd as its init.
#
#   sh test/harness/systemd-bed.sh USER DIRECTORY      (as root; serves until it is killed)
#
# DIRECTORY, made here and owned by USER, becomes the manager's HOME (DIRECTORY/home) and XDG_RUNTIME_DIR (DIRECTORY/run):
# it shares no unit, no container store and no socket with the user's own manager. With these two variables set,
# `systemctl --user` works from outside. The file DIRECTORY/ready appears when the manager is up.
#
# The manager needs a part of the unified cgroup hierarchy that belongs to its user, and a machine that looks as if
# systemd had booted it. It gets both in a mount and a cgroup namespace of its own; the machine stays as it is. The
# group it leaves behind, /loopat-bed-USER, is removed by `systemd-bed.sh --remove USER` once its processes are gone.
set -eu
cd "$(dirname "$0")/../.."
. systemd/lib.sh

# in_hierarchy COMMAND...: runs COMMAND where /sys/fs/cgroup is the unified hierarchy, from the caller's group down.
in_hierarchy() {
  # shellcheck disable=SC2016 # expanded by the inner shell
  unshare --mount --propagation private sh -c 'mount -t cgroup2 none /sys/fs/cgroup && exec "$@"' sh "$@"
}

case ${1-} in
  --remove)
    # From the leaves up; a group is in use for a moment after its last process was killed.
    # shellcheck disable=SC2016 # expanded by the inner shell
    in_hierarchy sh -c '
      for _ in 1 2 3 4 5 6 7 8 9 10; do
        [ -d "$1" ] || exit 0
        find "$1" -depth -type d -exec rmdir {} + 2>/dev/null && exit 0
        sleep 0.2
      done
      exit 1' sh "/sys/fs/cgroup/loopat-bed-${2:?a user is missing}"
    ;;
  --join)
    # Inside the first namespace: makes the group and moves into it, so that it is the root of the next namespace.
    group=/sys/fs/cgroup/loopat-bed-$2
    mkdir -p "$group"
    echo $$ >"$group/cgroup.procs"
    for file in . cgroup.procs cgroup.subtree_control cgroup.threads; do chown "$2" "$group/$file"; done
    mount -t tmpfs -o mode=755 none /run/systemd
    mkdir /run/systemd/system
    exec unshare --cgroup sh "$0" --boot "$2" "$3"
    ;;
  --boot)
    umount /sys/fs/cgroup
    mount -t cgroup2 none /sys/fs/cgroup
    as_user "$2" HOME="$3/home" XDG_RUNTIME_DIR="$3/run" /lib/systemd/systemd --user &
    manager=$!
    trap 'kill "$manager"' TERM INT
    for _ in $(seq 100); do
      if as_user "$2" XDG_RUNTIME_DIR="$3/run" systemctl --user show-environment >/dev/null 2>&1; then
        as_user "$2" touch "$3/ready"
        break
      fi
      kill -0 "$manager" 2>/dev/null || die "systemd --user ended at once"
      sleep 0.1
    done
    wait "$manager"
    ;;
  *)
    is_root || die "the test bed needs root"
    name=${1:?a user is missing} directory=${2:?a directory is missing}
    # shellcheck disable=SC2016 # expanded by the user's shell
    (cd / && as_user "$name" sh -c 'umask 077 && mkdir -p "$1/run" "$1/home/.config/containers" && rm -f "$1/ready" &&
      printf "[storage]\ndriver = \"overlay\"\n" >"$1/home/.config/containers/storage.conf"' sh "$directory")
    mkdir -p /run/systemd
    in_hierarchy sh "$PWD/test/harness/systemd-bed.sh" --join "$name" "$directory"
    ;;
esac
