#!/bin/sh
# Tests the two units under a separate systemd: sudo examples/systemd/try.sh target/release/ropewalk
#
# Installs a small Debian in a temporary directory (debootstrap, 300 MB, one or two minutes), and boots it with
# systemd-nspawn without a network. There it starts the socket, sends requests, restarts the service under load, triggers
# the watchdog, kills the service, and stops it. Prints the results, and exits with status 0 if all checks pass.
set -eu
program=$(realpath "${1:?usage: try.sh PROGRAM, such as target/release/ropewalk}")
units=$(dirname "$(realpath "$0")")
box=$(mktemp -d /var/tmp/ropewalk-units.XXXXXX)
trap 'rm -rf "$box"' EXIT
# The user of the service must be able to enter it.
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
request() { test "$(curl --silent --show-error --max-time 5 http://127.0.0.1/)" = hello; }
drop=/run/systemd/system/ropewalk.service.d
ip link set lo up

step the socket starts the service
systemctl start ropewalk.socket
request
systemctl is-active ropewalk.service

step the sandbox restricts the service
status=/proc/$(main)/status
grep -E '^(Uid|CapEff|CapBnd|NoNewPrivs|Seccomp):' "$status"
grep -qE '^CapBnd:\s0+$' "$status"
test "$(awk '/^Uid:/ { print $2 }' "$status")" -ge 61184
user=$(stat --format=%u "$(dirname "$status")")
inside() { nsenter --target "$(main)" --mount "$@"; }
# As root, only the mount namespace prevents writing. As the user of the service, only it hides the home directories.
for path in /srv/www/x /usr/x /var/x /etc/x; do
    if inside touch "$path" 2>/dev/null; then echo "the service can write $path"; exit 1; fi
done
if inside --setuid "$user" --setgid "$user" ls /home >/dev/null 2>&1; then echo "the service can read /home"; exit 1; fi
systemd-analyze security --no-pager ropewalk | tail -1

step restarts under load lose no connection
mkdir -p "$drop"
printf '[Unit]\nStartLimitIntervalSec=0\n[Service]\nWatchdogSec=2\n' >"$drop/try.conf"
systemctl daemon-reload
systemctl restart ropewalk
wrk -t1 -c20 -d8 http://127.0.0.1:80/ >/wrk &
for _ in 1 2 3 4 5; do sleep 1; systemctl restart ropewalk; done
wait
cat /wrk
if grep 'Socket errors' /wrk; then exit 1; fi

step the watchdog restarts a stopped service
kill -STOP "$(main)"
sleep 4
request
test "$(restarts)" = 1

step a killed service is restarted
kill -KILL "$(main)"
sleep 1
request
test "$(restarts)" = 2

step SIGHUP does not stop the service
before=$(main)
systemctl kill --signal=HUP ropewalk
sleep 1
request
test "$(main)" = "$before"

step each reactor runs in the sandbox
for reactor in select poll epoll uring; do
    printf '[Service]\nExecStart=\nExecStart=/usr/local/bin/ropewalk -r %s serve /srv/www --listen systemd:\n' \
        "$reactor" >"$drop/reactor.conf"
    systemctl daemon-reload
    systemctl restart ropewalk
    request
    journalctl --unit=ropewalk --output=cat --grep='serve on' --no-pager | tail -1
done

step the service stops in order
systemctl stop ropewalk.socket ropewalk.service
test "$(systemctl show --property=Result --value ropewalk)" = success
TRY

# systemd-nspawn gives it separate PID, mount, network and cgroup namespaces. systemd is the first process there.
systemd-nspawn --quiet --register=no --keep-unit --private-network --directory="$box" --boot >/dev/null 2>&1 </dev/null
cat "$box/result"
grep -qx 'status 0' "$box/result"
