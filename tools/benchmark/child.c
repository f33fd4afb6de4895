/* Run a program and tell what it took: child FD PROGRAM [ARGUMENT...]. On the descriptor FD, one line: CPU and wall time in ns, largest resident
 * size in KiB, minor page faults, exit status. A small process starts it, since the largest resident size would count its starter's. */

#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long
nanoseconds(struct timeval time)
{
    return time.tv_sec * 1000000000LL + time.tv_usec * 1000LL;
}

int
main(int argc, char **argv)
{
    struct timespec begin, end;
    struct rusage used;
    int status, fd;
    pid_t pid;

    if (argc < 3)
        return 2;
    fd = atoi(argv[1]);
    clock_gettime(CLOCK_MONOTONIC, &begin);
    pid = fork();
    if (pid == 0) {
        close(fd);
        execv(argv[2], argv + 2);
        _exit(127);
    }
    if (pid < 0 || wait4(pid, &status, 0, &used) < 0)
        return 1;
    clock_gettime(CLOCK_MONOTONIC, &end);
    dprintf(fd, "%lld %lld %ld %ld %d\n", nanoseconds(used.ru_utime) + nanoseconds(used.ru_stime),
            (end.tv_sec - begin.tv_sec) * 1000000000LL + end.tv_nsec - begin.tv_nsec, used.ru_maxrss, used.ru_minflt,
            WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    return 0;
}
