# shellcheck shell=sh
# Functions shared by prepare-host.sh, quickstart.sh and the scripts in test/. Sourced, POSIX sh, no output of its own.

# say TEXT: one line about what happens, for the reader on stdout.
say() { printf '%s\n' "==> $*"; }

# warn TEXT: something the reader should know, on stderr.
warn() { printf '%s\n' "warning: $*" >&2; }

# die TEXT: says why nothing goes on, and stops.
die() {
  printf '%s\n' "error: $*" >&2
  exit 1
}

is_root() { [ "$(id -u)" = 0 ]; }

# user_field NAME N: field N of the password entry of NAME (3 uid, 4 gid, 6 home), empty when there is no such user.
user_field() { getent passwd "$1" | cut -d: -f"$2"; }

# runtime_dir NAME: where the sockets of this user live.
runtime_dir() { echo "/run/user/$(user_field "$1" 3)"; }

# Variables that go on to the unprivileged user: how to reach the network, and how to print. Everything else of root's
# environment (its HOME, its npm cache, its credentials) stays behind.
PASS_ON="TERM LANG LC_ALL COLUMNS NO_COLOR FORCE_COLOR CI
  NODE_EXTRA_CA_CERTS SSL_CERT_FILE SSL_CERT_DIR CURL_CA_BUNDLE GIT_SSL_CAINFO REQUESTS_CA_BUNDLE
  HTTP_PROXY HTTPS_PROXY NO_PROXY ALL_PROXY http_proxy https_proxy no_proxy all_proxy
  npm_config_registry npm_config_cafile npm_config_ca npm_config_proxy npm_config_https_proxy npm_config_noproxy
  npm_config_strict_ssl npm_config_fetch_retries npm_config_fetch_timeout"

# as_user NAME COMMAND...: root runs COMMAND as NAME with a clean environment. COMMAND may begin with VAR=value words.
as_user() {
  as_name=$1
  as_home=$(user_field "$as_name" 6)
  as_node=$(command -v node) || as_node=/usr/bin/node
  shift
  for as_variable in $PASS_ON; do
    eval "as_value=\${$as_variable-}"
    [ -z "$as_value" ] || set -- "$as_variable=$as_value" "$@"
  done
  setpriv --reuid "$as_name" --regid "$(user_field "$as_name" 4)" --init-groups env -i \
    HOME="$as_home" USER="$as_name" LOGNAME="$as_name" SHELL=/bin/sh \
    PATH="$as_home/.local/bin:${as_node%/*}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" \
    XDG_RUNTIME_DIR="$(runtime_dir "$as_name")" "$@"
}

# need_node: stops unless the Node.js in PATH can run this project.
need_node() {
  { command -v node && command -v npm; } >/dev/null 2>&1 ||
    die "Node.js with npm is needed: install Node.js 20.19 or newer (https://nodejs.org)"
  node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 19) ? 0 : 1)' ||
    die "Node.js $(node --version) is too old: install Node.js 20.19 or newer (https://nodejs.org)"
}

# install_dependencies: npm ci in the current directory, when the lock file is another one than last time. No package we
# use needs its install script: those that have one would compile an optional speed-up, or fail where no compiler is.
install_dependencies() {
  lock_sum=$(cksum <package-lock.json)
  if [ "$lock_sum" != "$(cat node_modules/.loopat-lock 2>/dev/null)" ]; then
    say "installing the dependencies (npm ci)"
    npm ci --ignore-scripts --no-update-notifier --no-audit --no-fund --loglevel=error
    # npm links the Node.js that the client brings for everything that `npm run` starts; that stays with the host's.
    rm -f node_modules/.bin/node
    hash -r
    echo "$lock_sum" >node_modules/.loopat-lock
  fi
}
