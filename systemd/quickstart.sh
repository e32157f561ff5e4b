#!/bin/sh
# npm run quickstart: from a clone on a bare machine to a command inside a loop that holds this repository.
#
# Needs only npm; everything else it installs or names. Run it again at any time: it does only what is not done yet.
# Root prepares the machine, gives the repository to an unprivileged user, and the same script goes on as that user.
set -eu
cd "$(dirname "$0")/.."
. systemd/lib.sh

LOOP=quickstart

# ---- The repository, handed over ----------------------------------------------------------------------------------
# git refuses a repository that belongs to somebody else, and the clone may lie where only root can look. So what goes
# to the other side is a stream: a bundle of the commits, or, where the history is cut off (a shallow clone) or missing
# (an unpacked archive), the files.

# Runs git here as the owner of the clone: a repository that somebody else can write may tell git to run programs.
owner_git() {
  owner=$(stat -c %U .git)
  if ! is_root || [ "$owner" = root ]; then git "$@"; else as_user "$owner" git "$@"; fi
}

# history: prints "full", "shallow" or "none".
history() {
  if [ ! -e .git ] || ! owner_git rev-parse -q --verify HEAD >/dev/null 2>&1; then
    echo none
  elif [ "$(owner_git rev-parse --is-shallow-repository)" = false ]; then
    echo full
  else
    echo shallow
  fi
}

# files HISTORY: the files of the last commit, or the files that are here, as a tar stream.
files() {
  if [ "$1" != none ]; then
    owner_git archive HEAD
  else
    tar -cf - --exclude=./.git --exclude=node_modules --exclude=dist --exclude='*.tsbuildinfo' .
  fi
}

# The receiving side of a bundle, run as the one who gets it: $1 bundle, $2 directory, $3 URL of the origin or nothing.
# shellcheck disable=SC2016 # expanded by the shell that runs it
TAKE_BUNDLE='
  set -eu
  if [ ! -e "$2" ]; then
    git -c init.defaultBranch=main -c advice.detachedHead=false clone -q "$1" "$2"
    # Loops start from a branch; a clone that was made at a commit has none.
    git -C "$2" symbolic-ref -q HEAD >/dev/null || git -C "$2" checkout -q -b quickstart
    if [ -n "$3" ]; then git -C "$2" remote set-url origin "$3"; else git -C "$2" remote remove origin; fi
  else
    git -C "$2" fetch -q "$1" HEAD
    git -C "$2" merge -q --ff-only FETCH_HEAD >/dev/null 2>&1 ||
      echo "warning: $2 has changes of its own and stays as it is" >&2
  fi'

# The receiving side of files on stdin: $1 directory of a repository, where they become the next commit if they differ.
# shellcheck disable=SC2016
TAKE_FILES='
  set -eu
  [ -e "$1/.git" ] || git init -q -b main "$1"
  tree=$(mktemp -d)
  trap "rm -rf \"$tree\"" EXIT
  mkdir "$tree/files"
  tar -C "$tree/files" -xf -
  cd "$1"
  export GIT_INDEX_FILE="$tree/index"
  git --work-tree="$tree/files" add -A
  new=$(git write-tree)
  unset GIT_INDEX_FILE
  last=$(git rev-parse -q --verify refs/quickstart/files || :)
  [ -z "$last" ] || [ "$new" != "$(git rev-parse "$last^{tree}")" ] || exit 0
  commit=$(git -c user.name=quickstart -c user.email=quickstart@localhost commit-tree "$new" ${last:+-p "$last"} \
    -m "Copy of the files that npm run quickstart was started from")
  git update-ref refs/quickstart/files "$commit"
  git merge -q --ff-only "$commit" >/dev/null 2>&1 ||
    echo "warning: $1 has changes of its own and stays as it is" >&2'

# hand_over USER DIRECTORY: gives USER, in DIRECTORY, a clone of what is here; a second time, brings it up to date.
hand_over() {
  kind=$(history)
  if [ "$kind" != none ]; then
    changes=$(owner_git status --porcelain | wc -l)
    [ "$changes" = 0 ] || warn "uncommitted changes ($changes files) are not handed over to $1; commit them first"
  fi
  if [ "$kind" != full ]; then
    say "handing the files over to $1: $2"
    files "$kind" | (cd / && as_user "$1" sh -c "$TAKE_FILES" quickstart "$2")
    return
  fi
  say "handing the repository over to $1: $2"
  # Credentials in the URL are not ours to spread.
  origin=$(owner_git remote get-url origin 2>/dev/null | sed 's#//[^/@]*@#//#') || :
  parcel=$(mktemp -d)
  # shellcheck disable=SC2064 # the value of now
  trap "rm -rf '$parcel'" EXIT
  branch=$(owner_git symbolic-ref -q HEAD) || branch=''
  owner_git bundle create -q - HEAD ${branch:+"$branch"} >"$parcel/bundle"
  chmod 711 "$parcel"
  chown "$1" "$parcel/bundle"
  (cd / && as_user "$1" sh -c "$TAKE_BUNDLE" quickstart "$parcel/bundle" "$2" "$origin")
  rm -rf "$parcel"
  trap - EXIT
}

# ---- Root's part --------------------------------------------------------------------------------------------------

# A Node.js below root's home (version managers put it there) is out of the user's reach: the user gets a copy.
share_node() { # USER
  ! (cd / && as_user "$1" node --version >/dev/null 2>&1) || return 0
  prefix=$(dirname "$(dirname "$(readlink -f "$(command -v node)")")")
  say "$1 cannot use $prefix/bin/node: copying Node.js to $(user_field "$1" 6)/.local"
  # shellcheck disable=SC2016 # expanded by the user's shell
  tar -C "$prefix" -cf - bin/node bin/npm bin/npx lib/node_modules/npm |
    (cd / && as_user "$1" sh -c 'mkdir -p "$HOME/.local" && tar -C "$HOME/.local" -xf -')
}

as_root() {
  user=${SUDO_USER-}
  if [ -z "$user" ] || [ "$user" = root ]; then
    user=loop
    if [ -z "$(user_field loop 3)" ]; then
      say "creating the user loop: loops belong to an unprivileged user, and podman never runs as root"
      useradd --create-home --shell /bin/bash --comment 'owner of loops' loop
    fi
  fi
  sh systemd/prepare-host.sh --user "$user"
  share_node "$user"
  if [ "$(stat -c %U .)" = "$user" ] && as_user "$user" test -r package.json; then
    checkout=$PWD
  else
    checkout=$(user_field "$user" 6)/loopatd
    hand_over "$user" "$checkout"
  fi
  say "going on as $user in $checkout"
  cd "$checkout"
  as_user "$user" QUICKSTART_LOGIN="su - $user" sh systemd/quickstart.sh
}

# ---- The user's part ----------------------------------------------------------------------------------------------

# link NAME TARGET: ~/.local/bin/NAME, unless a file of somebody else is there.
link() {
  at=$HOME/.local/bin/$1
  case $(readlink "$at" || :) in
    "$2") return 0 ;;
    */bin/"$1") ;; # of an earlier clone
    *)
      if [ -e "$at" ] || [ -L "$at" ]; then
        warn "$at is something else and stays; run $2 by its full path"
        return 0
      fi
      ;;
  esac
  mkdir -p "$HOME/.local/bin"
  ln -sfn "$2" "$at"
  say "linked $at"
}

# How the reader will type the command: by name where a shell finds it, else by path.
command_name() {
  if [ -n "${QUICKSTART_LOGIN-}" ]; then
    found=$(env -i HOME="$HOME" PATH=/usr/local/bin:/usr/bin:/bin sh -lc 'command -v loopctl' </dev/null 2>/dev/null) || :
  else
    found=$(command -v loopctl) || :
  fi
  if [ "$found" = "$HOME/.local/bin/loopctl" ]; then echo loopctl; else echo "$loopctl"; fi
}

# A daemon that runs code from before this build is replaced; loops keep running meanwhile.
start_daemon() {
  stamp=daemon/dist/.quickstart
  if [ -e "$stamp" ] && [ -n "$(find daemon/dist protocol/dist -name '*.js' -newer "$stamp" | head -n 1)" ]; then
    "$loopctl" daemon restart >/dev/null
  else
    "$loopctl" daemon start >/dev/null
  fi
  touch "$stamp"
}

# Prints the path of a repository with its full history and a branch, which loops can borrow from.
complete_repository() {
  kind=$(history)
  if [ "$kind" = full ] && git symbolic-ref -q HEAD >/dev/null; then
    echo "$PWD"
  else
    copy=${XDG_DATA_HOME:-$HOME/.local/share}/loopat/quickstart
    mkdir -p "${copy%/*}"
    files "$kind" | sh -c "$TAKE_FILES" quickstart "$copy"
    echo "$copy"
  fi
}

make_loop() {
  status=0
  "$loopctl" show "$LOOP" >/dev/null 2>&1 || status=$?
  # 3: there is no such loop. Anything else will show itself in the next command.
  if [ "$status" = 3 ]; then
    repository=$(complete_repository)
    say "creating the loop $LOOP with a clone of this repository"
    "$loopctl" create --name "$LOOP" --repo "$repository" "A clone of loopatd"
  fi
}

# next COMMAND TEXT: one line of what to do next.
next() { printf '  %-40s # %s\n' "$1" "$2"; }

as_oneself() {
  [ -w . ] || die "$PWD is not yours: clone the repository as $(id -un), or run this as its owner, $(stat -c %U .)"
  sh systemd/prepare-host.sh
  install_dependencies
  say "building"
  npm run --silent build
  loopctl=$PWD/client/bin/loopctl
  link loopctl "$loopctl"
  link loopatd "$PWD/daemon/bin/loopatd"

  say "starting the daemon"
  start_daemon
  say "checking this host (loopctl doctor)"
  findings=$("$loopctl" doctor 2>&1) || {
    printf '%s\n' "$findings"
    die "no loop can run here yet: mend what failed above, then try again"
  }
  printf '%s\n' "$findings" | grep -v '^ok' || :
  say "making the sandbox image; the first time this takes minutes"
  "$loopctl" image build
  make_loop
  say "running a command in the loop:"
  # shellcheck disable=SC2016 # expanded in the loop
  "$loopctl" exec "$LOOP" -- \
    sh -c 'echo "$(id -un) (uid $(id -u)) on $(hostname), in $(pwd)"; git log --oneline -3; ls'

  name=$(command_name)
  echo
  say "The loop \"$LOOP\" holds a clone of this repository. Next:"
  [ -z "${QUICKSTART_LOGIN-}" ] || next "$QUICKSTART_LOGIN" "become the owner of the loops"
  next "$name shell $LOOP" "work inside it"
  next "$name create --repo URL TITLE" "another loop, with a clone of your own repository"
  next "$name ls" "what there is"
  next "$name --help" "everything else"
  [ "$name" = loopctl ] || say "With $HOME/.local/bin in PATH it is just loopctl."
}

need_node
if is_root; then as_root; else as_oneself; fi
