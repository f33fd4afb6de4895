# fish completion for pyrunc; written by completions/generate.py

function __pyrunc_command
    set -l words (commandline -opc)
    set -e words[1]
    while set -q words[1]
        switch $words[1]
            case --log-level --log --log-format --root --criu --cgroup-manager --rootless
                set -e words[1]
            case '-*'
            case '*'
                echo $words[1]
                return 0
        end
        set -e words[1]
    end
    return 1
end

function __pyrunc_is
    set -l command (__pyrunc_command); and contains -- $command $argv
end

# How many arguments stand after the command, flags left out.
function __pyrunc_arguments
    set -l command (__pyrunc_command); or return 1
    set -l words (commandline -opc)
    set -l at (contains -i -- $command $words)
    set -l after (string match -v -- '-*' $words[(math $at + 1)..])
    echo (count $after)
end

function __pyrunc_first
    __pyrunc_is $argv; and test (__pyrunc_arguments) = 0
end

function __pyrunc_ids
    set -l words (commandline -opc)
    set -l at (contains -i -- --root $words)
    if test -n "$at"
        pyrunc --root $words[(math $at + 1)] list --quiet 2>/dev/null
    else
        pyrunc list --quiet 2>/dev/null
    end
end

complete -c pyrunc -f
complete -c pyrunc -n 'not __pyrunc_command' -l debug -d 'log what is being done'
complete -c pyrunc -n 'not __pyrunc_command' -l log-level -x -a 'error warning debug' -d 'what to log: error, warning or debug'
complete -c pyrunc -n 'not __pyrunc_command' -l log -r -F -d 'where to log in place of standard error: FILE, file:FILE, journald:NAME or syslog:NAME'
complete -c pyrunc -n 'not __pyrunc_command' -l log-format -x -a 'text json' -d '"text" or "json"'
complete -c pyrunc -n 'not __pyrunc_command' -l root -x -a '(__fish_complete_directories)' -d 'directory for the state of containers'
complete -c pyrunc -n 'not __pyrunc_command' -l criu -r -F -d 'accepted and ignored: criu is looked up in $PATH'
complete -c pyrunc -n 'not __pyrunc_command' -l systemd-cgroup -d 'let systemd make cgroups; cgroupsPath is slice:prefix:name'
complete -c pyrunc -n 'not __pyrunc_command' -l cgroup-manager -x -d 'who makes cgroups: cgroupfs, systemd (as --systemd-cgroup), or disabled, which makes none'
complete -c pyrunc -n 'not __pyrunc_command' -l rootless -x -d 'go on where cgroups are out of reach: "true", "false" or "auto"'
complete -c pyrunc -n 'not __pyrunc_command' -l version -s v -s V -d 'print the version'
complete -c pyrunc -n 'not __pyrunc_command' -a audit -d 'tell how far a container is isolated from its host'
complete -c pyrunc -n 'not __pyrunc_command' -a checkpoint -d 'save a running container'
complete -c pyrunc -n 'not __pyrunc_command' -a create -d 'create a container'
complete -c pyrunc -n 'not __pyrunc_command' -a delete -d 'delete a container'
complete -c pyrunc -n 'not __pyrunc_command' -a doctor -d 'tell what this host lacks, or why a container does not go on'
complete -c pyrunc -n 'not __pyrunc_command' -a events -d 'print statistics and out-of-memory events of a container'
complete -c pyrunc -n 'not __pyrunc_command' -a exec -d 'execute a program in a container'
complete -c pyrunc -n 'not __pyrunc_command' -a features -d 'print what pyrunc can do'
complete -c pyrunc -n 'not __pyrunc_command' -a kill -d 'send a signal (by default TERM) to a container'
complete -c pyrunc -n 'not __pyrunc_command' -a list -d 'list containers'
complete -c pyrunc -n 'not __pyrunc_command' -a metrics -d 'print what all containers use, as OpenMetrics text'
complete -c pyrunc -n 'not __pyrunc_command' -a mounts -d 'add mounts to a running container, or take them away'
complete -c pyrunc -n 'not __pyrunc_command' -a pause -d 'suspend all processes of a container'
complete -c pyrunc -n 'not __pyrunc_command' -a plan -d 'show the steps that create would take'
complete -c pyrunc -n 'not __pyrunc_command' -a ps -d 'list the processes of a container'
complete -c pyrunc -n 'not __pyrunc_command' -a restore -d 'make a container from a checkpoint'
complete -c pyrunc -n 'not __pyrunc_command' -a resume -d 'resume all processes of a paused container'
complete -c pyrunc -n 'not __pyrunc_command' -a run -d 'create and run a container'
complete -c pyrunc -n 'not __pyrunc_command' -a spec -d 'write a config.json to start from'
complete -c pyrunc -n 'not __pyrunc_command' -a start -d 'start the program of a created container'
complete -c pyrunc -n 'not __pyrunc_command' -a state -d 'print the state of a container'
complete -c pyrunc -n 'not __pyrunc_command' -a update -d 'change the resource limits of a container'
complete -c pyrunc -n 'not __pyrunc_command' -a validate -d 'tell everything that is wrong with a configuration'
complete -c pyrunc -n 'not __pyrunc_command' -a help -d 'show the help of a command'
complete -c pyrunc -n '__pyrunc_first help' -a 'audit checkpoint create delete doctor events exec features kill list metrics mounts pause plan ps restore resume run spec start state update validate'
complete -c pyrunc -n '__pyrunc_is audit' -l format -x -a 'text json' -d '"text", "json" or "sarif"'
complete -c pyrunc -n '__pyrunc_is checkpoint' -l image-path -x -a '(__fish_complete_directories)' -d 'directory to save to, by default ./checkpoint'
complete -c pyrunc -n '__pyrunc_is checkpoint' -l work-path -x -a '(__fish_complete_directories)' -d 'directory for criu\'s log and work files'
complete -c pyrunc -n '__pyrunc_is checkpoint' -l parent-path -x -a '(__fish_complete_directories)' -d 'earlier images of a --pre-dump, relative to --image-path'
complete -c pyrunc -n '__pyrunc_is checkpoint' -l leave-running -d 'let the container go on'
complete -c pyrunc -n '__pyrunc_is checkpoint' -l tcp-established -d 'allow open TCP connections'
complete -c pyrunc -n '__pyrunc_is checkpoint' -l tcp-skip-in-flight -d 'skip connections that are being made'
complete -c pyrunc -n '__pyrunc_is checkpoint' -l link-remap -d 'give deleted files that are open a name for the time'
complete -c pyrunc -n '__pyrunc_is checkpoint' -l ext-unix-sk -d 'allow unix sockets whose other end is outside'
complete -c pyrunc -n '__pyrunc_is checkpoint' -l shell-job -d 'allow a terminal that is not the container\'s'
complete -c pyrunc -n '__pyrunc_is checkpoint' -l lazy-pages -d 'leave memory behind, to be fetched on demand'
complete -c pyrunc -n '__pyrunc_is checkpoint' -l status-fd -x -d 'descriptor that gets a zero byte when --lazy-pages is ready'
complete -c pyrunc -n '__pyrunc_is checkpoint' -l page-server -x -d 'page server to send memory to'
complete -c pyrunc -n '__pyrunc_is checkpoint' -l file-locks -d 'save and restore file locks'
complete -c pyrunc -n '__pyrunc_is checkpoint' -l pre-dump -d 'save memory only and let the container go on'
complete -c pyrunc -n '__pyrunc_is checkpoint' -l manage-cgroups-mode -x -a 'soft full strict ignore' -d 'what criu does to cgroups: soft, full, strict or ignore'
complete -c pyrunc -n '__pyrunc_is checkpoint' -l empty-ns -x -a 'network' -d 'make a namespace but leave it empty: network (repeatable)'
complete -c pyrunc -n '__pyrunc_is checkpoint' -l auto-dedup -d 'drop pages from images that newer ones replace'
complete -c pyrunc -n '__pyrunc_is create' -l bundle -s b -x -a '(__fish_complete_directories)' -d 'directory with config.json, by default the current one'
complete -c pyrunc -n '__pyrunc_is create' -l config -s f -r -F -d 'configuration in place of the bundle\'s config.json'
complete -c pyrunc -n '__pyrunc_is create' -l console-socket -r -F -d 'unix socket to send the terminal\'s master descriptor to'
complete -c pyrunc -n '__pyrunc_is create' -l pidfd-socket -r -F -d 'unix socket to send a pidfd of the process to'
complete -c pyrunc -n '__pyrunc_is create' -l pid-file -r -F -d 'file to write the process id to'
complete -c pyrunc -n '__pyrunc_is create' -l no-pivot -d 'move the root file system in place of pivot_root(2), for hosts that run from a ramdisk'
complete -c pyrunc -n '__pyrunc_is create' -l no-new-keyring -d 'leave the container the caller\'s session keyring'
complete -c pyrunc -n '__pyrunc_is create' -l preserve-fds -x -d 'give the process N more descriptors, from 3 on (after those of $LISTEN_FDS)'
complete -c pyrunc -n '__pyrunc_is create' -l no-subreaper -d 'do not adopt the container\'s orphaned processes'
complete -c pyrunc -n '__pyrunc_is create' -l trace -r -F -d 'write the time of every step to FILE, in the Chrome trace format'
complete -c pyrunc -n '__pyrunc_is delete' -l force -s f -d 'kill the container if it runs; no error if there is no such container'
complete -c pyrunc -n '__pyrunc_is delete' -l regex -s r -d 'the id is a regular expression: delete all containers it finds'
complete -c pyrunc -n '__pyrunc_is doctor' -l format -x -a 'text json' -d '"text" or "json"'
complete -c pyrunc -n '__pyrunc_is events' -l interval -x -d 'time between two statistics: 100ms, 5s, 1m30s'
complete -c pyrunc -n '__pyrunc_is events' -l stats -d 'print the statistics once and end'
complete -c pyrunc -n '__pyrunc_is exec' -l console-socket -r -F -d 'unix socket to send the terminal\'s master descriptor to'
complete -c pyrunc -n '__pyrunc_is exec' -l pidfd-socket -r -F -d 'unix socket to send a pidfd of the process to'
complete -c pyrunc -n '__pyrunc_is exec' -l cwd -x -a '(__fish_complete_directories)' -d 'working directory in the container'
complete -c pyrunc -n '__pyrunc_is exec' -l env -s e -x -d 'set an environment variable (repeatable)'
complete -c pyrunc -n '__pyrunc_is exec' -l tty -s t -d 'give the program a terminal'
complete -c pyrunc -n '__pyrunc_is exec' -l user -s u -x -d 'user, and group, by number'
complete -c pyrunc -n '__pyrunc_is exec' -l additional-gids -s g -x -d 'add a supplementary group (repeatable)'
complete -c pyrunc -n '__pyrunc_is exec' -l process -s p -r -F -d 'file with a "process" object as in config.json'
complete -c pyrunc -n '__pyrunc_is exec' -l detach -s d -d 'return once the program runs'
complete -c pyrunc -n '__pyrunc_is exec' -l pid-file -r -F -d 'file to write the process id to'
complete -c pyrunc -n '__pyrunc_is exec' -l process-label -x -d 'SELinux label of the program'
complete -c pyrunc -n '__pyrunc_is exec' -l apparmor -x -d 'AppArmor profile of the program'
complete -c pyrunc -n '__pyrunc_is exec' -l no-new-privs -d 'let the program gain no privileges by execve(2)'
complete -c pyrunc -n '__pyrunc_is exec' -l cap -s c -x -d 'add a capability (repeatable)'
complete -c pyrunc -n '__pyrunc_is exec' -l preserve-fds -x -d 'give the process N more descriptors, from 3 on (after those of $LISTEN_FDS)'
complete -c pyrunc -n '__pyrunc_is exec' -l cgroup -x -d 'run in an existing cgroup below the container\'s; / is the container\'s own'
complete -c pyrunc -n '__pyrunc_is exec' -l ignore-paused -d 'wait for resume where the container is paused'
complete -c pyrunc -n '__pyrunc_is exec' -l trace -r -F -d 'write the time of every step to FILE, in the Chrome trace format'
complete -c pyrunc -n '__pyrunc_is kill' -l regex -s r -d 'the id is a regular expression: signal all containers it finds'
complete -c pyrunc -n '__pyrunc_is kill' -l all -s a -d 'to all processes of the container, and no error if none is left'
complete -c pyrunc -n '__pyrunc_is list' -l format -s f -x -a 'table json' -d '"table" or "json"'
complete -c pyrunc -n '__pyrunc_is list' -l quiet -s q -d 'print ids only'
complete -c pyrunc -n '__pyrunc_is plan' -l format -x -a 'text json' -d '"text" or "json"'
complete -c pyrunc -n '__pyrunc_is ps' -l format -s f -x -a 'table json' -d '"table" or "json"'
complete -c pyrunc -n '__pyrunc_is restore' -l console-socket -r -F -d 'unix socket to send the terminal\'s master descriptor to'
complete -c pyrunc -n '__pyrunc_is restore' -l image-path -x -a '(__fish_complete_directories)' -d 'directory with the images, by default ./checkpoint'
complete -c pyrunc -n '__pyrunc_is restore' -l work-path -x -a '(__fish_complete_directories)' -d 'directory for criu\'s log and work files'
complete -c pyrunc -n '__pyrunc_is restore' -l tcp-established -d 'allow open TCP connections'
complete -c pyrunc -n '__pyrunc_is restore' -l ext-unix-sk -d 'allow unix sockets whose other end is outside'
complete -c pyrunc -n '__pyrunc_is restore' -l shell-job -d 'allow a terminal that is not the container\'s'
complete -c pyrunc -n '__pyrunc_is restore' -l file-locks -d 'save and restore file locks'
complete -c pyrunc -n '__pyrunc_is restore' -l manage-cgroups-mode -x -a 'soft full strict ignore' -d 'what criu does to cgroups: soft, full, strict or ignore'
complete -c pyrunc -n '__pyrunc_is restore' -l bundle -s b -x -a '(__fish_complete_directories)' -d 'directory with config.json, by default the current one'
complete -c pyrunc -n '__pyrunc_is restore' -l detach -s d -d 'return once the container runs'
complete -c pyrunc -n '__pyrunc_is restore' -l pid-file -r -F -d 'file to write the process id to'
complete -c pyrunc -n '__pyrunc_is restore' -l no-subreaper -d 'do not adopt the container\'s orphaned processes'
complete -c pyrunc -n '__pyrunc_is restore' -l no-pivot -d 'move the root file system in place of pivot_root(2), for hosts that run from a ramdisk'
complete -c pyrunc -n '__pyrunc_is restore' -l empty-ns -x -a 'network' -d 'make a namespace but leave it empty: network (repeatable)'
complete -c pyrunc -n '__pyrunc_is restore' -l auto-dedup -d 'drop pages from images that newer ones replace'
complete -c pyrunc -n '__pyrunc_is restore' -l lazy-pages -d 'fetch memory on demand'
complete -c pyrunc -n '__pyrunc_is restore' -l lsm-profile -x -d 'security profile of the processes'
complete -c pyrunc -n '__pyrunc_is restore' -l lsm-mount-context -x -d 'SELinux context of mounts'
complete -c pyrunc -n '__pyrunc_is run' -l bundle -s b -x -a '(__fish_complete_directories)' -d 'directory with config.json, by default the current one'
complete -c pyrunc -n '__pyrunc_is run' -l config -s f -r -F -d 'configuration in place of the bundle\'s config.json'
complete -c pyrunc -n '__pyrunc_is run' -l console-socket -r -F -d 'unix socket to send the terminal\'s master descriptor to'
complete -c pyrunc -n '__pyrunc_is run' -l pidfd-socket -r -F -d 'unix socket to send a pidfd of the process to'
complete -c pyrunc -n '__pyrunc_is run' -l pid-file -r -F -d 'file to write the process id to'
complete -c pyrunc -n '__pyrunc_is run' -l no-pivot -d 'move the root file system in place of pivot_root(2), for hosts that run from a ramdisk'
complete -c pyrunc -n '__pyrunc_is run' -l no-new-keyring -d 'leave the container the caller\'s session keyring'
complete -c pyrunc -n '__pyrunc_is run' -l preserve-fds -x -d 'give the process N more descriptors, from 3 on (after those of $LISTEN_FDS)'
complete -c pyrunc -n '__pyrunc_is run' -l no-subreaper -d 'do not adopt the container\'s orphaned processes'
complete -c pyrunc -n '__pyrunc_is run' -l trace -r -F -d 'write the time of every step to FILE, in the Chrome trace format'
complete -c pyrunc -n '__pyrunc_is run' -l detach -s d -d 'return once the program runs'
complete -c pyrunc -n '__pyrunc_is run' -l keep -d 'do not delete the container when its program has ended'
complete -c pyrunc -n '__pyrunc_is spec' -l bundle -s b -x -a '(__fish_complete_directories)' -d 'directory to write to, by default the current one'
complete -c pyrunc -n '__pyrunc_is spec' -l file -s f -r -F -d 'file to write, by default config.json'
complete -c pyrunc -n '__pyrunc_is spec' -l rootless -d 'for a container that its user makes without privileges'
complete -c pyrunc -n '__pyrunc_is start' -l trace -r -F -d 'write the time of every step to FILE, in the Chrome trace format'
complete -c pyrunc -n '__pyrunc_is update' -l resources -s r -r -F -d 'file with a resources object; - is standard input; other flags are ignored then'
complete -c pyrunc -n '__pyrunc_is update' -l blkio-weight -x -d 'weight for block devices, 10 to 1000'
complete -c pyrunc -n '__pyrunc_is update' -l cpu-period -x -d 'length of a period of --cpu-quota in microseconds'
complete -c pyrunc -n '__pyrunc_is update' -l cpu-quota -x -d 'processor time in a period, in microseconds; -1: no limit'
complete -c pyrunc -n '__pyrunc_is update' -l cpu-burst -x -d 'unused quota that may be used later, in microseconds'
complete -c pyrunc -n '__pyrunc_is update' -l cpu-share -x -d 'weight for the processor, 2 to 262144'
complete -c pyrunc -n '__pyrunc_is update' -l cpu-rt-period -x -d 'period of real-time scheduling (cgroup v1 only)'
complete -c pyrunc -n '__pyrunc_is update' -l cpu-rt-runtime -x -d 'time of real-time scheduling (cgroup v1 only)'
complete -c pyrunc -n '__pyrunc_is update' -l cpuset-cpus -x -d 'processors that may be used: 0-3,7'
complete -c pyrunc -n '__pyrunc_is update' -l cpuset-mems -x -d 'memory nodes that may be used'
complete -c pyrunc -n '__pyrunc_is update' -l cpu-idle -x -a '0 1' -d '1: only when nothing else wants the processor'
complete -c pyrunc -n '__pyrunc_is update' -l memory -x -d 'limit of memory in bytes, or with suffix k, m, g; -1: none'
complete -c pyrunc -n '__pyrunc_is update' -l memory-reservation -x -d 'memory that is reclaimed last'
complete -c pyrunc -n '__pyrunc_is update' -l memory-swap -x -d 'limit of memory and swap together; -1: none'
complete -c pyrunc -n '__pyrunc_is update' -l pids-limit -x -d 'limit of the number of tasks; -1: none'
complete -c pyrunc -n '__pyrunc_is update' -l l3-cache-schema -x -d 'Intel RDT\'s line about the L3 cache: L3:0=f;1=f0'
complete -c pyrunc -n '__pyrunc_is update' -l mem-bw-schema -x -d 'Intel RDT\'s line about memory bandwidth: MB:0=50'
complete -c pyrunc -n '__pyrunc_is validate' -l strict -d 'warnings are errors as well'
complete -c pyrunc -n '__pyrunc_is validate' -l format -x -a 'text json' -d '"text", "json" or "sarif"'
complete -c pyrunc -n '__pyrunc_first checkpoint delete events exec kill pause ps resume start state update' -a '(__pyrunc_ids)'
complete -c pyrunc -n '__pyrunc_first audit plan run validate' -a '(__fish_complete_directories)'
complete -c pyrunc -n '__pyrunc_is kill; and test (__pyrunc_arguments) = 1' -a 'HUP INT QUIT KILL USR1 USR2 TERM CONT STOP WINCH'
