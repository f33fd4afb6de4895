# bash completion for pyrunc; written by completions/generate.py

_pyrunc_values() { # KIND OR WORDS
    case $1 in
        files) compopt -o default 2>/dev/null; COMPREPLY=() ;;
        directories) compopt -o dirnames 2>/dev/null; COMPREPLY=() ;;
        ids) _pyrunc_values " $("${words[0]}" "${root[@]}" list --quiet 2>/dev/null)" ;;
        *) mapfile -t COMPREPLY < <(compgen -W "$1" -- "$cur") ;;
    esac
}

_pyrunc() {
    local cur prev words=("${COMP_WORDS[@]}") command= i=1 arguments=0
    local -a root=()
    cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    while [ "$i" -lt "$COMP_CWORD" ]; do
        case ${words[i]} in
            --root) root=(--root "${words[i + 1]}"); i=$((i + 1)) ;;
            --log-level|--log|--log-format|--criu|--cgroup-manager|--rootless) [ -n "$command" ] || i=$((i + 1)) ;;
            -*) ;;
            *) if [ -z "$command" ]; then command=${words[i]}; else arguments=$((arguments + 1)); fi ;;
        esac
        i=$((i + 1))
    done
    case $command:$prev in
        :--log-level) _pyrunc_values 'error warning debug'; return ;;
        :--log) _pyrunc_values 'files'; return ;;
        :--log-format) _pyrunc_values 'text json'; return ;;
        :--root) _pyrunc_values 'directories'; return ;;
        :--criu) _pyrunc_values 'files'; return ;;
        :--cgroup-manager) COMPREPLY=(); return ;;
        :--rootless) COMPREPLY=(); return ;;
        audit:--format) _pyrunc_values 'text json'; return ;;
        checkpoint:--image-path) _pyrunc_values 'directories'; return ;;
        checkpoint:--work-path) _pyrunc_values 'directories'; return ;;
        checkpoint:--parent-path) _pyrunc_values 'directories'; return ;;
        checkpoint:--status-fd) COMPREPLY=(); return ;;
        checkpoint:--page-server) COMPREPLY=(); return ;;
        checkpoint:--manage-cgroups-mode) _pyrunc_values 'soft full strict ignore'; return ;;
        checkpoint:--empty-ns) _pyrunc_values 'network'; return ;;
        create:--bundle|create:-b) _pyrunc_values 'directories'; return ;;
        create:--config|create:-f) _pyrunc_values 'files'; return ;;
        create:--console-socket) _pyrunc_values 'files'; return ;;
        create:--pidfd-socket) _pyrunc_values 'files'; return ;;
        create:--pid-file) _pyrunc_values 'files'; return ;;
        create:--preserve-fds) COMPREPLY=(); return ;;
        create:--trace) _pyrunc_values 'files'; return ;;
        doctor:--format) _pyrunc_values 'text json'; return ;;
        events:--interval) COMPREPLY=(); return ;;
        exec:--console-socket) _pyrunc_values 'files'; return ;;
        exec:--pidfd-socket) _pyrunc_values 'files'; return ;;
        exec:--cwd) _pyrunc_values 'directories'; return ;;
        exec:--env|exec:-e) COMPREPLY=(); return ;;
        exec:--user|exec:-u) COMPREPLY=(); return ;;
        exec:--additional-gids|exec:-g) COMPREPLY=(); return ;;
        exec:--process|exec:-p) _pyrunc_values 'files'; return ;;
        exec:--pid-file) _pyrunc_values 'files'; return ;;
        exec:--process-label) COMPREPLY=(); return ;;
        exec:--apparmor) COMPREPLY=(); return ;;
        exec:--cap|exec:-c) COMPREPLY=(); return ;;
        exec:--preserve-fds) COMPREPLY=(); return ;;
        exec:--cgroup) COMPREPLY=(); return ;;
        exec:--trace) _pyrunc_values 'files'; return ;;
        list:--format|list:-f) _pyrunc_values 'table json'; return ;;
        plan:--format) _pyrunc_values 'text json'; return ;;
        ps:--format|ps:-f) _pyrunc_values 'table json'; return ;;
        restore:--console-socket) _pyrunc_values 'files'; return ;;
        restore:--image-path) _pyrunc_values 'directories'; return ;;
        restore:--work-path) _pyrunc_values 'directories'; return ;;
        restore:--manage-cgroups-mode) _pyrunc_values 'soft full strict ignore'; return ;;
        restore:--bundle|restore:-b) _pyrunc_values 'directories'; return ;;
        restore:--pid-file) _pyrunc_values 'files'; return ;;
        restore:--empty-ns) _pyrunc_values 'network'; return ;;
        restore:--lsm-profile) COMPREPLY=(); return ;;
        restore:--lsm-mount-context) COMPREPLY=(); return ;;
        run:--bundle|run:-b) _pyrunc_values 'directories'; return ;;
        run:--config|run:-f) _pyrunc_values 'files'; return ;;
        run:--console-socket) _pyrunc_values 'files'; return ;;
        run:--pidfd-socket) _pyrunc_values 'files'; return ;;
        run:--pid-file) _pyrunc_values 'files'; return ;;
        run:--preserve-fds) COMPREPLY=(); return ;;
        run:--trace) _pyrunc_values 'files'; return ;;
        spec:--bundle|spec:-b) _pyrunc_values 'directories'; return ;;
        spec:--file|spec:-f) _pyrunc_values 'files'; return ;;
        start:--trace) _pyrunc_values 'files'; return ;;
        update:--resources|update:-r) _pyrunc_values 'files'; return ;;
        update:--blkio-weight) COMPREPLY=(); return ;;
        update:--cpu-period) COMPREPLY=(); return ;;
        update:--cpu-quota) COMPREPLY=(); return ;;
        update:--cpu-burst) COMPREPLY=(); return ;;
        update:--cpu-share) COMPREPLY=(); return ;;
        update:--cpu-rt-period) COMPREPLY=(); return ;;
        update:--cpu-rt-runtime) COMPREPLY=(); return ;;
        update:--cpuset-cpus) COMPREPLY=(); return ;;
        update:--cpuset-mems) COMPREPLY=(); return ;;
        update:--cpu-idle) _pyrunc_values '0 1'; return ;;
        update:--memory) COMPREPLY=(); return ;;
        update:--memory-reservation) COMPREPLY=(); return ;;
        update:--memory-swap) COMPREPLY=(); return ;;
        update:--pids-limit) COMPREPLY=(); return ;;
        update:--l3-cache-schema) COMPREPLY=(); return ;;
        update:--mem-bw-schema) COMPREPLY=(); return ;;
        validate:--format) _pyrunc_values 'text json'; return ;;
    esac
    case $command in
        '') _pyrunc_values '--debug --log-level --log --log-format --root --criu --systemd-cgroup --cgroup-manager --rootless --version -v -V audit checkpoint create delete doctor events exec features kill list metrics mounts pause plan ps restore resume run spec start state update validate help' ;;
        audit)
            case $cur in
                -*) _pyrunc_values '--format --help' ;;
                *) [ "$arguments" -gt 0 ] || _pyrunc_values directories ;;
            esac ;;
        checkpoint)
            case $cur in
                -*) _pyrunc_values '--image-path --work-path --parent-path --leave-running --tcp-established --tcp-skip-in-flight --link-remap --ext-unix-sk --shell-job --lazy-pages --status-fd --page-server --file-locks --pre-dump --manage-cgroups-mode --empty-ns --auto-dedup --help' ;;
                *) [ "$arguments" -gt 0 ] || _pyrunc_values ids ;;
            esac ;;
        create)
            case $cur in
                -*) _pyrunc_values '--bundle -b --config -f --console-socket --pidfd-socket --pid-file --no-pivot --no-new-keyring --preserve-fds --no-subreaper --trace --help' ;;
                *) COMPREPLY=() ;;
            esac ;;
        delete)
            case $cur in
                -*) _pyrunc_values '--force -f --regex -r --help' ;;
                *) [ "$arguments" -gt 0 ] || _pyrunc_values ids ;;
            esac ;;
        doctor)
            case $cur in
                -*) _pyrunc_values '--format --help' ;;
                *) COMPREPLY=() ;;
            esac ;;
        events)
            case $cur in
                -*) _pyrunc_values '--interval --stats --help' ;;
                *) [ "$arguments" -gt 0 ] || _pyrunc_values ids ;;
            esac ;;
        exec)
            case $cur in
                -*) _pyrunc_values '--console-socket --pidfd-socket --cwd --env -e --tty -t --user -u --additional-gids -g --process -p --detach -d --pid-file --process-label --apparmor --no-new-privs --cap -c --preserve-fds --cgroup --ignore-paused --trace --help' ;;
                *) [ "$arguments" -gt 0 ] || _pyrunc_values ids ;;
            esac ;;
        features)
            case $cur in
                -*) _pyrunc_values ' --help' ;;
                *) COMPREPLY=() ;;
            esac ;;
        kill)
            case $cur in
                -*) _pyrunc_values '--regex -r --all -a --help' ;;
                *) if [ "$arguments" = 0 ]; then _pyrunc_values ids; else _pyrunc_values 'HUP INT QUIT KILL USR1 USR2 TERM CONT STOP WINCH'; fi ;;
            esac ;;
        list)
            case $cur in
                -*) _pyrunc_values '--format -f --quiet -q --help' ;;
                *) COMPREPLY=() ;;
            esac ;;
        metrics)
            case $cur in
                -*) _pyrunc_values ' --help' ;;
                *) COMPREPLY=() ;;
            esac ;;
        mounts)
            case $cur in
                -*) _pyrunc_values ' --help' ;;
                *) COMPREPLY=() ;;
            esac ;;
        pause)
            case $cur in
                -*) _pyrunc_values ' --help' ;;
                *) [ "$arguments" -gt 0 ] || _pyrunc_values ids ;;
            esac ;;
        plan)
            case $cur in
                -*) _pyrunc_values '--format --help' ;;
                *) [ "$arguments" -gt 0 ] || _pyrunc_values directories ;;
            esac ;;
        ps)
            case $cur in
                -*) _pyrunc_values '--format -f --help' ;;
                *) [ "$arguments" -gt 0 ] || _pyrunc_values ids ;;
            esac ;;
        restore)
            case $cur in
                -*) _pyrunc_values '--console-socket --image-path --work-path --tcp-established --ext-unix-sk --shell-job --file-locks --manage-cgroups-mode --bundle -b --detach -d --pid-file --no-subreaper --no-pivot --empty-ns --auto-dedup --lazy-pages --lsm-profile --lsm-mount-context --help' ;;
                *) COMPREPLY=() ;;
            esac ;;
        resume)
            case $cur in
                -*) _pyrunc_values ' --help' ;;
                *) [ "$arguments" -gt 0 ] || _pyrunc_values ids ;;
            esac ;;
        run)
            case $cur in
                -*) _pyrunc_values '--bundle -b --config -f --console-socket --pidfd-socket --pid-file --no-pivot --no-new-keyring --preserve-fds --no-subreaper --trace --detach -d --keep --help' ;;
                *) [ "$arguments" -gt 0 ] || _pyrunc_values directories ;;
            esac ;;
        spec)
            case $cur in
                -*) _pyrunc_values '--bundle -b --file -f --rootless --help' ;;
                *) COMPREPLY=() ;;
            esac ;;
        start)
            case $cur in
                -*) _pyrunc_values '--trace --help' ;;
                *) [ "$arguments" -gt 0 ] || _pyrunc_values ids ;;
            esac ;;
        state)
            case $cur in
                -*) _pyrunc_values ' --help' ;;
                *) [ "$arguments" -gt 0 ] || _pyrunc_values ids ;;
            esac ;;
        update)
            case $cur in
                -*) _pyrunc_values '--resources -r --blkio-weight --cpu-period --cpu-quota --cpu-burst --cpu-share --cpu-rt-period --cpu-rt-runtime --cpuset-cpus --cpuset-mems --cpu-idle --memory --memory-reservation --memory-swap --pids-limit --l3-cache-schema --mem-bw-schema --help' ;;
                *) [ "$arguments" -gt 0 ] || _pyrunc_values ids ;;
            esac ;;
        validate)
            case $cur in
                -*) _pyrunc_values '--strict --format --help' ;;
                *) [ "$arguments" -gt 0 ] || _pyrunc_values directories ;;
            esac ;;
        help) _pyrunc_values 'audit checkpoint create delete doctor events exec features kill list metrics mounts pause plan ps restore resume run spec start state update validate' ;;
    esac
}

complete -F _pyrunc pyrunc
