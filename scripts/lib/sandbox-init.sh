#!/bin/sh
# sandbox-init.sh STRICT TEMPORARY COMMAND...: process 1 of the sandbox. Makes the new namespaces usable, runs the command, reaps orphans,
# and says what the command left behind. File descriptor 3 is a pipe from the starter: each line names a signal for the
# command, and its end means that the starter is dead. TEMPORARY is the sandbox's own directory for temporary files.
strict=$1
temporary=$2
shift 2

# Locks, network namespaces and sockets of the system stay out of sight, and ours out of the system's.
mount -t tmpfs -o mode=755 tmpfs /run && mkdir -p /run/lock /run/netns
# /sys shows the interfaces of the namespace in which it was mounted; a new one hides the cgroups, so they are bound back.
mkdir -p /run/cgroup.kept
if mount --rbind /sys/fs/cgroup /run/cgroup.kept 2> /dev/null; then
  mount -t sysfs sysfs /sys 2> /dev/null && mount --rbind /run/cgroup.kept /sys/fs/cgroup
  umount -l /run/cgroup.kept
fi
rmdir /run/cgroup.kept
ip link set lo up

links() { for path in /sys/class/net/*; do echo "${path##*/}"; done | sort; }
links_before=$(links)

# A shell makes background commands deaf to the keyboard's signals and takes their standard input; both are given back.
exec 4<&0
restore=
env --default-signal=INT,QUIT true 2> /dev/null && restore="env --default-signal=INT,QUIT"
$restore "$@" <&4 3<&- 4<&- &
child=$!
exec 4<&-
(
  while read -r signal; do kill -s "$signal" "$child" 2> /dev/null; done
  kill -s TERM "$child" 2> /dev/null
  sleep 10
  kill -s KILL -1
) <&3 > /dev/null 2>&1 &
control=$!
exec 3<&-

trap : INT TERM HUP
# wait ends early at a trapped signal.
while :; do
  wait "$child"
  status=$?
  kill -0 "$child" 2> /dev/null || break
done

# Processes that still run and are not ours, each as "PID command line". Kernel-side they may be dying already: a moment's grace.
running() {
  for directory in /proc/[0-9]*; do
    pid=${directory#/proc/}
    read -r line 2> /dev/null < "$directory/stat" || continue
    rest=${line##*) }
    set -- $rest
    # Ours are this shell, the control pipe's reader, and their children.
    case "$pid:$1" in 1:* | "$control":* | *:Z | *:X) continue ;; esac
    [ "$2" = 1 ] && [ "$pid" = "$self" ] && continue
    [ "$2" = "$self" ] || [ "$2" = "$control" ] && continue
    command=$(tr '\0' ' ' 2> /dev/null < "$directory/cmdline")
    [ -n "$command" ] && echo "$pid $command"
  done
}
leftover_processes() {
  # The subshell of a command substitution is itself a process here.
  self=$(sh -c 'echo $PPID')
  running
}
tries=20
while :; do
  processes=$(leftover_processes)
  [ -z "$processes" ] && break
  tries=$((tries - 1))
  [ $tries -gt 0 ] || break
  sleep 0.1
done
left=$(
  [ -n "$processes" ] && echo "$processes" | sed 's/^/process /'
  for link in $(links); do
    echo "$links_before" | grep -qx -- "$link" || echo "interface $link"
  done
  ls /run/netns | sed 's/^/network namespace /'
  nft list tables 2> /dev/null
)
if [ -n "$left" ]; then
  echo "$left" | sed 's/^/sandbox: left behind: /' >&2
  [ "$strict" = strict ] && [ "$status" = 0 ] && status=1
fi
# The starter does this too, unless it is dead.
rm -rf "$temporary"
exit "$status"
