/*
 * The attacker of attack.py: the program of a container that shares its pid namespace with others. It tries to get into
 * every process that it sees, through /proc/PID/{root,cwd,fd,exe,mem} and ptrace(2), and prints a line for what it gets:
 *
 *     reach CANARY
 *
 * CANARY is the absolute path of a file of the host's. Through root and cwd only that file counts: containers may well see
 * each other's. Everything else counts where the process is still called pyrunc-init afterwards.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *canary;

static void got(int pid, const char *what)
{
	printf("GOT %s of %d\n", what, pid);
	fflush(stdout);
}

/* Whether the process is one of the runtime's own, before its program. */
static int ours(int pid)
{
	char path[64], name[32] = "";
	int fd, n;

	snprintf(path, sizeof path, "/proc/%d/comm", pid);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return 0;
	n = read(fd, name, sizeof name - 1);
	close(fd);
	return n > 0 && (!strncmp(name, "pyrunc-init", 11) || !strncmp(name, "runc:[", 6) || !strncmp(name, "memfd:", 6));
}

static void place(int pid, const char *name)
{
	char path[64], up[4400] = "";
	int fd, i, found;

	snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
	fd = open(path, O_PATH | O_DIRECTORY);
	if (fd < 0)
		return;
	if (!strcmp(name, "cwd"))
		for (i = 0; i < 32; i++)
			strcat(up, "../");
	strcat(up, canary + 1);
	found = openat(fd, up, O_RDONLY);
	if (found >= 0) {
		got(pid, name);
		close(found);
	}
	close(fd);
}

static void file(int pid, const char *name, int flags)
{
	char path[320];
	int fd;

	snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
	fd = open(path, flags);
	if (fd < 0)
		return;
	if (ours(pid))
		got(pid, name);
	close(fd);
}

static void descriptors(int pid)
{
	char path[64], name[300];
	struct dirent *entry;
	DIR *folder;

	snprintf(path, sizeof path, "/proc/%d/fd", pid);
	folder = opendir(path);
	if (!folder)
		return;
	while ((entry = readdir(folder)))
		if (entry->d_name[0] != '.') {
			snprintf(name, sizeof name, "fd/%s", entry->d_name);
			file(pid, name, O_PATH);
		}
	closedir(folder);
}

int main(int argc, char **argv)
{
	int self = getpid(), pid, seen;
	struct dirent *entry;
	unsigned long rounds = 0;
	DIR *all;

	if (argc != 2)
		return 2;
	canary = argv[1];
	printf("ready\n");
	fflush(stdout);
	for (;; rounds++) {
		all = opendir("/proc");
		if (!all)
			return 3;
		for (seen = 0; (entry = readdir(all));) {
			pid = atoi(entry->d_name);
			if (pid <= 0 || pid == self)
				continue;
			seen++;
			place(pid, "root");
			place(pid, "cwd");
			if (!ours(pid))
				continue;
			file(pid, "exe", O_RDONLY);
			file(pid, "mem", O_RDWR);
			descriptors(pid);
			if (!ptrace(PTRACE_SEIZE, pid, 0, 0)) {
				if (ours(pid))
					got(pid, "ptrace");
				kill(pid, SIGSTOP);
				waitpid(pid, 0, __WALL);
				ptrace(PTRACE_DETACH, pid, 0, SIGCONT);
			}
		}
		closedir(all);
	}
}
