# The limits as the kernel has them, and what happens when one is reached.
cd /sys/fs/cgroup || exit 1
for file in memory.max memory.swap.max cpu.max cpu.weight pids.max; do
    [ -e "$file" ] && printf '%s %s\n' "$file" "$(cat "$file")"
done
# pids.max is 16: some of these thirty cannot be started.
count=$(
    for i in $(seq 30); do
        (sleep 1 & echo started) 2>/dev/null
    done | grep -c started
)
if [ "$count" -lt 30 ]; then echo 'too many processes were refused'; fi
