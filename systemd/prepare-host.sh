#!/bin/sh
# Prepares a Debian or Ubuntu machine for rootless podman, and one user on it.
#
#   sh systemd/prepare-host.sh [--tests] [--user NAME]
#
# Installs the missing packages as root or through sudo where that asks for no password; otherwise names them, prints the
# one command that does all of it, and fails. --tests adds what only the test suites need. --user (root only) prepares
# NAME; without it the caller prepares itself. Running it again changes nothing and takes no time.
set -eu
cd "$(dirname "$0")/.."
. systemd/lib.sh
# A user's PATH often lacks the directories that hold iptables and sshd.
PATH=$PATH:/usr/sbin:/sbin

# The package lists, one "package:program" a word. What counts is the program, so that a podman that was built by hand
# is as good as the packaged one. Of these, iptables and catatonit are needed by netavark and by `--init`.
PACKAGES="podman:podman uidmap:newuidmap crun:crun conmon:conmon fuse-overlayfs:fuse-overlayfs slirp4netns:slirp4netns
  netavark:/usr/lib/podman/netavark aardvark-dns:/usr/lib/podman/aardvark-dns catatonit:catatonit
  iptables:iptables iproute2:ip mmdebstrap:mmdebstrap git:git openssh-client:ssh util-linux:flock
  ca-certificates:/etc/ssl/certs/ca-certificates.crt"
# From podman 5 on, pasta makes the rootless network and netavark speaks nftables.
PACKAGES_PODMAN5="passt:pasta nftables:nft"
# With systemd as init, a user without a graphical session has a message bus only through this one.
PACKAGES_SYSTEMD="dbus-user-session:/usr/lib/systemd/user/dbus.socket"
PACKAGES_TESTS="openssh-server:/usr/sbin/sshd openssl:openssl zsh:zsh fish:fish
  debian-archive-keyring:/usr/share/keyrings/debian-archive-keyring.gpg
  systemd:/lib/systemd/systemd dbus-user-session:/usr/lib/systemd/user/dbus.socket"

tests='' user=''
while [ $# -gt 0 ]; do
  case $1 in
    --tests) tests=yes ;;
    --user) user=${2:?--user needs a name} && shift ;;
    *) die "unknown option $1; usage: prepare-host.sh [--tests] [--user NAME]" ;;
  esac
  shift
done
if [ -n "$user" ]; then
  is_root || die "--user needs root"
  [ -n "$(user_field "$user" 3)" ] || die "there is no user $user"
  [ "$(user_field "$user" 3)" != 0 ] || die "rootless podman needs a user other than root"
elif ! is_root; then
  user=$(id -un)
fi

has() {
  case $1 in
    /*) [ -e "$1" ] || [ -x "/usr/libexec/podman/${1##*/}" ] ;;
    *) command -v "$1" >/dev/null 2>&1 ;;
  esac
}

# A busybox that needs no libraries: the whole content of the test suites' smallest image.
has_static_busybox() {
  [ -x /bin/busybox ] && ! head -c 4096 /bin/busybox | grep -aq '/ld-\(linux\|musl\)'
}

# Releases that come with podman 4.
has_podman4() (
  # shellcheck source=/dev/null
  [ -r /etc/os-release ] && . /etc/os-release
  case ${ID-}-${VERSION_ID-} in debian-12 | ubuntu-2[34].*) true ;; *) false ;; esac
)

missing_packages() {
  wanted=$PACKAGES
  has_podman4 || wanted="$wanted $PACKAGES_PODMAN5"
  [ ! -d /run/systemd/system ] || wanted="$wanted $PACKAGES_SYSTEMD"
  [ -z "$tests" ] || wanted="$wanted $PACKAGES_TESTS"
  for pair in $wanted; do
    has "${pair#*:}" || printf '%s ' "${pair%%:*}"
  done
  [ -z "$tests" ] || has_static_busybox || printf '%s ' busybox-static
}

# has_range FILE: the user owns at least 65536 subordinate ids in /etc/subuid or /etc/subgid.
has_range() {
  [ -r "$1" ] && awk -F: -v name="$user" -v uid="$(user_field "$user" 3)" \
    '($1 == name || $1 == uid) && $3 >= 65536 { found = 1 } END { exit !found }' "$1"
}

# Devices that nested containers and the rootless network open. A missing one is made only if the kernel has the driver.
device_missing() { # PATH DRIVER
  if [ -e "$1" ]; then
    [ "$(stat -c %a "$1")" = 600 ]
  else
    grep -q " $2\$" /proc/misc
  fi
}

# What only root can do and is not done yet, as words for the reader. Loops run without /dev/fuse, so it alone is no task.
open_tasks() {
  [ -z "$packages" ] || echo "packages: $packages"
  [ -z "$user" ] || { has_range /etc/subuid && has_range /etc/subgid; } || echo "subordinate ids for $user"
  ! device_missing /dev/net/tun tun || echo "/dev/net/tun for everyone"
}

# apt COMMAND...: apt-get without questions; its output is shown only when it fails.
apt() {
  DEBIAN_FRONTEND=noninteractive apt-get -y -qq -o Dpkg::Use-Pty=0 "$@" >"$apt_log" 2>&1
}

apt_install() {
  say "installing packages: $packages"
  apt_log=$(mktemp)
  policy=''
  trap 'rm -f "$apt_log" ${policy:+"$policy"}' EXIT
  # An sshd that only the tests need must not begin to listen on this machine.
  case " $packages" in
    *' openssh-server '*) [ -e /usr/sbin/policy-rc.d ] || policy=/usr/sbin/policy-rc.d ;;
  esac
  if [ -n "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
  fi
  # shellcheck disable=SC2086 # a list of names
  set -- install --no-install-recommends $packages
  # Old package lists name versions that are gone: then, and where there are none, fetch them.
  { [ -n "$(find /var/lib/apt/lists -maxdepth 1 -name '*Packages*')" ] && apt "$@"; } || { apt update && apt "$@"; } || {
    cat "$apt_log" >&2
    die "the packages could not be installed: $packages"
  }
  if [ -n "$policy" ] && [ -d /run/systemd/system ]; then
    systemctl -q disable ssh.service ssh.socket 2>/dev/null ||
      warn "openssh-server was installed for the tests and may start with the machine: systemctl disable ssh"
  fi
  rm -f "$apt_log" ${policy:+"$policy"}
  trap - EXIT
}

open_device() { # PATH DRIVER MINOR
  device_missing "$1" "$2" || return 0
  if [ ! -e "$1" ]; then
    mkdir -p "${1%/*}"
    mknod "$1" c 10 "$3" || { warn "$1 cannot be made here" && return 0; }
  fi
  if chmod 0666 "$1"; then say "opened $1 for everyone (mode 0666)"; else warn "$1 cannot be opened for everyone"; fi
}

# Adds a range that overlaps none of those that exist.
add_range() {
  touch /etc/subuid /etc/subgid
  has_range /etc/subuid && has_range /etc/subgid && return 0
  first=$(cat /etc/subuid /etc/subgid |
    awk -F: 'BEGIN { top = 100000 } $2 + $3 > top { top = $2 + $3 } END { printf "%d\n", top }')
  last=$((first + 65535))
  has_range /etc/subuid || usermod --add-subuids "$first-$last" "$user"
  has_range /etc/subgid || usermod --add-subgids "$first-$last" "$user"
  say "gave $user the subordinate ids $first-$last"
}

# Where logind makes no runtime directory (no init, or no session), make one of the same kind. With logind, lingering
# makes it, and keeps the user's daemon and loops alive after the last session.
add_runtime_dir() {
  directory=$(runtime_dir "$user")
  if [ -d /run/systemd/system ] && command -v loginctl >/dev/null 2>&1; then
    if [ ! -e "/var/lib/systemd/linger/$user" ] && loginctl enable-linger "$user"; then
      say "let the services of $user run without a session (loginctl enable-linger)"
      for _ in 1 2 3 4 5 6 7 8 9 10; do
        [ ! -d "$directory" ] || return 0
        sleep 0.2
      done
    fi
  fi
  [ -d "$directory" ] && return 0
  mkdir -p /run/user
  mkdir -m 0700 "$directory"
  chown "$(user_field "$user" 3):$(user_field "$user" 4)" "$directory"
  say "made $directory for $user"
}

# Runs as the user itself: root writes nothing below a directory that somebody else can fill with links.
# Without this file Debian 12 falls back to the vfs driver, and a store that began as vfs stays vfs.
# shellcheck disable=SC2016 # expanded by the user's own shell
STORE='
  config=${XDG_CONFIG_HOME:-$HOME/.config}/containers
  [ ! -e "$config/storage.conf" ] && [ ! -e "${XDG_DATA_HOME:-$HOME/.local/share}/containers/storage" ] || exit 0
  umask 022
  mkdir -p "$config"
  printf "[storage]\ndriver = \"overlay\"\n" >"$config/storage.conf"
  echo "==> wrote $config/storage.conf (driver = \"overlay\")"'

packages=$(missing_packages)
if is_root; then
  if [ -n "$packages" ]; then
    command -v apt-get >/dev/null 2>&1 ||
      die "this is not a Debian or Ubuntu machine: install what these packages hold, then try again: $packages"
    apt_install
  fi
  open_device /dev/fuse fuse 229
  open_device /dev/net/tun tun 200
  [ -n "$user" ] || exit 0
  add_range
  add_runtime_dir
  # `cd /`: the working directory may be unreadable for the user.
  cd / && as_user "$user" sh -c "$STORE"
else
  tasks=$(open_tasks)
  if [ -n "$tasks" ]; then
    set -- "$PWD/systemd/prepare-host.sh" ${tests:+--tests} --user "$user"
    if command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
      sudo -n sh "$@"
    else
      command="sudo sh $*"
      command -v sudo >/dev/null 2>&1 || command="su -c 'sh $*'"
      printf '%s\n' "This machine needs, once, as root:" "$tasks" "Run this, then try again:" "  $command" >&2
      exit 1
    fi
  fi
  sh -c "$STORE"
fi
