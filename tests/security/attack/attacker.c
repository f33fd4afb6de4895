/*
 * attacker CANARY: a container's process that tries to get at whatever appears in its pid namespace.
 *
 * CANARY is the path of a file of the host's that no container has. Each new process is asked, again and
 * again, for its root, working directory, descriptors, memory, executable, and to be traced.
 *
 *     GOT WHAT PID NAME     reached: "host" is the canary, by way of a root, a working directory or a descriptor;
 *                           the rest is told of processes with a runtime's name alone
 *     TRIED N               how many times a process was tried so far
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WINDOW 48       /* processes back from the newest */
#define DESCRIPTORS 24

static const char *canary;
static char above[4096];        /* the canary from any directory of the host's: up to the top, and down */

static void name_of(int pid, char *name)
{
	char path[64];
	int fd, n = -1;

	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = read(fd, name, 31);
		close(fd);
	}
	name[n > 0 ? n - 1 : 0] = 0;
}

/* What the runtimes call their processes; runc's first ones are named after the file they are executed from. */
static int of_runtime(const char *name)
{
	static const char *const names[] = { "pyrunc", "runc", "crun", "python", "exe", "memfd" };
	unsigned i;

	for (i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (!strncmp(name, names[i], strlen(names[i])))
			return 1;
	return *name >= '0' && *name <= '9';
}

static void got(const char *what, int pid, const char *name)
{
	static struct { int pid; const char *what; } told[256];
	static unsigned next;
	unsigned i;

	for (i = 0; i < 256; i++)
		if (told[i].pid == pid && told[i].what == what)
			return;
	told[next % 256].pid = pid;
	told[next++ % 256].what = what;
	printf("GOT %s %d %s\n", what, pid, name);
	fflush(stdout);
}

/* Whether the host's canary can be opened from here, as root directory or by going up. */
static int is_host(int fd)
{
	int file = openat(fd, canary + 1, O_RDONLY | O_CLOEXEC);

	if (file < 0)
		file = openat(fd, above, O_RDONLY | O_CLOEXEC);
	if (file < 0)
		return 0;
	close(file);
	return 1;
}

static int reach(int pid, const char *file, int flags)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, file);
	return open(path, flags | O_CLOEXEC | O_NONBLOCK);
}

/* 1 where the process was there. */
static int try(int pid)
{
	static const char *const directories[] = { "root", "cwd" };
	char name[32], after[32], file[16], path[64];
	int fd, i, ours, reached[5] = { 0 };
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d", pid);
	if (stat(path, &st))
		return 0;
	name_of(pid, name);
	ours = of_runtime(name);
	for (i = 0; i < 2; i++) {
		fd = reach(pid, directories[i], O_PATH | O_DIRECTORY);
		if (fd < 0)
			continue;
		reached[i] = 1;
		if (is_host(fd))
			got("host", pid, name);
		close(fd);
	}
	for (i = 0; i < DESCRIPTORS; i++) {
		snprintf(file, sizeof(file), "fd/%d", i);
		fd = reach(pid, file, O_PATH);
		if (fd < 0)
			continue;
		reached[2] = 1;
		if (!fstat(fd, &st) && S_ISDIR(st.st_mode) && is_host(fd))
			got("host", pid, name);
		close(fd);
	}
	if (!ours)
		return 1;
	fd = reach(pid, "mem", O_RDWR);
	if (fd >= 0) {
		reached[3] = 1;
		close(fd);
	}
	fd = reach(pid, "exe", O_RDONLY);
	if (fd >= 0) {
		reached[4] = 1;
		close(fd);
	}
	i = !ptrace(PTRACE_SEIZE, pid, 0, 0);
	/* The same name before and after: it has not become the container's own program in between. */
	name_of(pid, after);
	if (!strcmp(name, after)) {
		static const char *const words[] = { "root", "cwd", "descriptor", "memory", "executable" };
		int k;

		for (k = 0; k < 5; k++)
			if (reached[k])
				got(words[k], pid, name);
		if (i)
			got("trace", pid, name);
	}
	if (i) {
		/* Only who is stopped can be let go. */
		ptrace(PTRACE_INTERRUPT, pid, 0, 0);
		waitpid(pid, NULL, __WALL);
		ptrace(PTRACE_DETACH, pid, 0, 0);
	}
	return 1;
}

/* The newest process id of this pid namespace. */
static int newest(void)
{
	char text[128];
	int fd = open("/proc/loadavg", O_RDONLY | O_CLOEXEC), n;
	char *last;

	if (fd < 0)
		exit(1);
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n > 0 ? n : 0] = 0;
	last = strrchr(text, ' ');
	return last ? atoi(last) : 1;
}

int main(int argc, char **argv)
{
	unsigned long tried = 0;
	time_t told = 0;

	if (argc != 2 || argv[1][0] != '/')
		return 2;
	canary = argv[1];
	for (int i = 0; i < 32; i++)
		strcat(above, "../");
	strncat(above, canary + 1, sizeof(above) - strlen(above) - 1);
	for (;;) {
		int last = newest(), pid;

		for (pid = last + 2; pid > last - WINDOW && pid > 1; pid--)
			if (pid != getpid())
				tried += try(pid);
		if (time(NULL) != told) {
			told = time(NULL);
			printf("TRIED %lu\n", tried);
			fflush(stdout);
		}
	}
}
