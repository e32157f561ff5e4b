import { basename } from 'node:path'

/**
 * Programs that run, or write, whatever their arguments, their input or the files around them say. To let a loop call one
 * of them is to give it the host. The list cannot be complete: it catches what people would grant without a thought.
 */
const PROGRAMS: readonly string[] = [
  // Shells.
  'ash bash busybox csh dash elvish fish ksh mksh nu pwsh rbash sh tcsh toybox xonsh yash zsh',
  // What runs another program for somebody.
  'at batch busctl bwrap catchsegv chroot chrt command cpulimit cron crontab daemonize dbus-send distrobox',
  'distrobox-enter doas dtach entr env exec expect fakeroot faketime fd fdfind find firejail flatpak flatpak-spawn',
  'flock fzf gdb gdbus gio host-spawn hyperfine ionice ld-linux-aarch64.so ld-linux-x86-64.so ld.so linux32 linux64',
  'lldb ltrace newgrp nice nohup nsenter numactl parallel perf pkexec prlimit proot rlwrap rr run-mailcap run-parts',
  'run0 runuser screen script setarch setpriv setsid sg snap socat start-stop-daemon stdbuf strace su sudo sudoedit',
  'systemctl systemd-inhibit systemd-nspawn systemd-run taskset time timeout tmate tmux toolbox unbuffer unshare',
  'valgrind watch xargs xdg-open xterm zellij',
  // What writes any file writes a start-up file, too.
  'cp csplit curl dd install ln mv patch split sponge tee truncate wget',
  // Interpreters.
  'awk bc bpftrace bun clojure deno ed elixir erl gawk ghci gnuplot groovy guile iex ipython irb java jshell julia',
  'jupyter lua luajit m4 mawk mono nawk node nodejs ocaml octave perl php pypy python R racket Rscript ruby scala',
  'sed swift tclsh ts-node tsx wish',
  // Compilers, and what builds or installs.
  'ant apt apt-get aptitude asdf bazel brew bundle bundler c++ cabal cargo cc clang clang++ cmake composer conda',
  'corepack direnv dnf dotnet dpkg g++ gcc gem ghc gmake go gradle just kotlin ld lein make meson mise mix mvn',
  'ninja nix nix-env nix-shell npm npx opam pacman pip pipx pnpm poetry rake rpm rustc rustup sbt stack task tcc uv',
  'uvx yarn yum zig zypper',
  // Containers, other hosts, versions.
  'ansible ansible-playbook autossh buildah ctr docker docker-compose git gitk helm hg incus jj kubectl lazygit lxc',
  'machinectl mosh nc ncat nerdctl netcat packer podman podman-compose pulumi rclone rsync scp sftp ssh ssh-add',
  'ssh-agent ssh-keygen sshfs sshpass svn telnet terraform tig vagrant virsh',
  // Editors, pagers and viewers that run commands, and archivers that do.
  'code codium cpio cursor editor emacs emacsclient ex gedit gvim helix hx info joe journalctl kak kate less man mc',
  'micro more most mutt mysql nano neovide nvim pager pico psql ranger rview rvim sensible-editor sensible-pager',
  'sqlite subl tar unzip vi view vifm vim vimdiff vipw visudo zed zip',
  // Ourselves: whoever may call them may do anything that the user may.
  'loopatd loopctl',
]

/**
 * Reports whether any of the names or paths of a program is one that can run anything. Letters count alike whether small
 * or capital, as they do on some file systems.
 */
export function isFullAccess(...paths: readonly string[]): boolean {
  const names = new Set(PROGRAMS.flatMap((line) => line.toLowerCase().split(' ')))
  return paths.some((path) => {
    const name = basename(path).toLowerCase()
    // What git, and what a package of emacs, is made of.
    return names.has(name) || names.has(plain(name)) || /^(git|emacs)-/.test(name)
  })
}

/** Without what distributions append: `python3.11`, `vim.basic`, `gcc-12`, `nvim-0.9`, `x86_64-linux-gnu-gcc`. */
function plain(name: string): string {
  return name
    .replace(/^.*-(linux|unknown)-[a-z]+-/, '')
    .replace(/\.(basic|tiny|gtk3?|nox|gnome|traditional|openbsd|distrib|real)$/, '')
    .replace(/[-.]?\d[\d.]*$/, '')
}
