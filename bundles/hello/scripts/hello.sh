# What a process sees from inside. The directory is bind mounted as /mnt.
title() { printf '\n--- %s\n' "$1"; }

printf '%s: pid %s, uid %s, host name %s, kernel %s\n' \
    "$GREETING" $$ "$(id -u)" "$(hostname)" "$(uname -r)"
title 'processes (all that exist here)'
ps -o pid,user,args
title 'mounts'
while read -r _ _ _ _ where options rest; do
    case $rest in *' - '*) rest=${rest#*- } ;; *) rest=${rest#- } ;; esac
    printf '%-22s %-8s %s\n' "$where" "${rest%% *}" "$options"
done </proc/self/mountinfo
title 'network interfaces'
ls /sys/class/net
title 'privileges'
grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status
title 'limits'
grep -E '^(Limit|Max (open files|processes|core))' /proc/self/limits
title 'attempts'
attempt() {
    what=$1
    shift
    if output=$("$@" 2>&1); then result=succeeded; else result="refused: ${output##*: }"; fi
    printf '%-34s %s\n' "$what" "$result"
}
attempt 'write to the root file system' touch /file
attempt 'write to /tmp' touch /tmp/file
attempt 'change a kernel parameter' sh -c 'echo 1 >/proc/sys/kernel/panic'
attempt 'change the host name' hostname other
attempt 'mount a file system' mount -t tmpfs none /tmp
