#!/bin/sh
# Runs the two units under a systemd of their own: sudo examples/systemd/try.sh target/release/ropewalk
#
# It makes a small Debian in a temporary directory (debootstrap, 300 MB, a minute or two), boots it with systemd-nspawn
# without a network, and has it start the socket, ask through it, restart under load, miss the watchdog, die, and stop.
# Prints what it finds, and ends with status 0 when all of it was as it should be.
set -eu
program=$(realpath "${1:?the program, as in target/release/ropewalk}")
units=$(dirname "$(realpath "$0")")
box=$(mktemp -d /var/tmp/ropewalk-units.XXXXXX)
trap 'rm -rf "$box"' EXIT
# The service's user must reach what is in it.
chmod 755 "$box"

debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,curl,wrk,procps,iproute2 \
    bookworm "$box" "${MIRROR:-http://deb.debian.org/debian}" >"$box.log" || { cat "$box.log"; exit 1; }
rm "$box.log"
install -m 755 "$program" "$box/usr/local/bin/ropewalk"
install -m 644 "$units/ropewalk.service" "$units/ropewalk.socket" "$box/etc/systemd/system"
mkdir -p "$box/srv/www"
echo hello >"$box/srv/www/index.html"

cat >"$box/etc/systemd/system/try.service" <<'UNIT'
[Unit]
After=network.target dbus.service
SuccessAction=poweroff-force
FailureAction=poweroff-force
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'sh /try.sh >/result 2>&1; echo "status $?" >>/result'
[Install]
WantedBy=multi-user.target
UNIT
mkdir -p "$box/etc/systemd/system/multi-user.target.wants"
ln -s ../try.service "$box/etc/systemd/system/multi-user.target.wants/try.service"

cat >"$box/try.sh" <<'TRY'
set -eu
trap 'test $? = 0 || journalctl --unit=ropewalk.service --unit=ropewalk.socket --output=cat --no-pager | tail -20' EXIT
step() { printf '\n== %s\n' "$*"; }
main() { systemctl show --property=MainPID --value ropewalk; }
restarts() { systemctl show --property=NRestarts --value ropewalk; }
ask() { test "$(curl --silent --show-error --max-time 5 http://127.0.0.1/)" = hello; }
drop=/run/systemd/system/ropewalk.service.d
ip link set lo up

step the socket starts the service
systemctl start ropewalk.socket
ask
systemctl is-active ropewalk.service

step it is shut in
status=/proc/$(main)/status
grep -E '^(Uid|CapEff|CapBnd|NoNewPrivs|Seccomp):' "$status"
grep -qE '^CapBnd:\s0+$' "$status"
test "$(awk '/^Uid:/ { print $2 }' "$status")" -ge 61184
user=$(stat --format=%u "$(dirname "$status")")
inside() { nsenter --target "$(main)" --mount "$@"; }
# Root is not kept from writing by permissions, and a stranger is not kept from the homes by them.
for path in /srv/www/x /usr/x /var/x /etc/x; do
    if inside touch "$path" 2>/dev/null; then echo "it may write $path"; exit 1; fi
done
if inside --setuid "$user" --setgid "$user" ls /home >/dev/null 2>&1; then echo "it sees the homes"; exit 1; fi
systemd-analyze security --no-pager ropewalk | tail -1

step restarts under load lose nobody
mkdir -p "$drop"
printf '[Unit]\nStartLimitIntervalSec=0\n[Service]\nWatchdogSec=2\n' >"$drop/try.conf"
systemctl daemon-reload
systemctl restart ropewalk
wrk -t1 -c20 -d8 http://127.0.0.1:80/ >/wrk &
for _ in 1 2 3 4 5; do sleep 1; systemctl restart ropewalk; done
wait
cat /wrk
if grep 'Socket errors' /wrk; then exit 1; fi

step the watchdog sees that it hangs
kill -STOP "$(main)"
sleep 4
ask
test "$(restarts)" = 1

step it is started again when it dies
kill -KILL "$(main)"
sleep 1
ask
test "$(restarts)" = 2

step SIGHUP leaves it active
before=$(main)
systemctl kill --signal=HUP ropewalk
sleep 1
ask
test "$(main)" = "$before"

step each reactor runs within these limits
for reactor in select poll epoll uring; do
    printf '[Service]\nExecStart=\nExecStart=/usr/local/bin/ropewalk -r %s serve /srv/www --listen systemd:\n' \
        "$reactor" >"$drop/reactor.conf"
    systemctl daemon-reload
    systemctl restart ropewalk
    ask
    journalctl --unit=ropewalk --output=cat --grep='serve on' --no-pager | tail -1
done

step it stops in order
systemctl stop ropewalk.socket ropewalk.service
test "$(systemctl show --property=Result --value ropewalk)" = success
TRY

# Its own PID, mount, network and cgroup namespaces; systemd is the first process there.
systemd-nspawn --quiet --register=no --keep-unit --private-network --directory="$box" --boot >/dev/null 2>&1 </dev/null
cat "$box/result"
grep -qx 'status 0' "$box/result"
