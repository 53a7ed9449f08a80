#!/bin/sh
# Installs the program with its manual page, completions, systemd units and a logrotate sample:
#
#   cargo build --release && sudo examples/install.sh target/release/ropewalk /usr/local
#
# The second argument is the prefix. DESTDIR is put before all paths, for packages. Nothing is enabled or started.
set -eu
# The files below are for all users, whatever mask root has.
umask 022
program=${1:?usage: install.sh PROGRAM [PREFIX], such as install.sh target/release/ropewalk /usr/local}
prefix=${2:-/usr/local}
own=$(dirname "$(realpath "$0")")
root=${DESTDIR:-}$prefix

mkdir -p "$root/bin" "$root/share/man/man1" "$root/share/bash-completion/completions" \
    "$root/share/zsh/site-functions" "$root/share/fish/vendor_completions.d" "$root/lib/systemd/system" \
    "$root/share/doc/ropewalk"
install -m 755 "$program" "$root/bin/ropewalk"
# The program itself writes its page and its completions, so they have the options of this version.
"$program" --man >"$root/share/man/man1/ropewalk.1"
"$program" --completions bash >"$root/share/bash-completion/completions/ropewalk"
"$program" --completions zsh >"$root/share/zsh/site-functions/_ropewalk"
"$program" --completions fish >"$root/share/fish/vendor_completions.d/ropewalk.fish"
sed "s|/usr/local/bin/ropewalk|$prefix/bin/ropewalk|" "$own/systemd/ropewalk.service" \
    >"$root/lib/systemd/system/ropewalk.service"
install -m 644 "$own/systemd/ropewalk.socket" "$root/lib/systemd/system/ropewalk.socket"
install -m 644 "$own/logrotate/ropewalk" "$root/share/doc/ropewalk/logrotate"
