/*
 * injector: lists the system calls of a command and its children, or spoils exactly one of them.
 *
 *     injector [-p PID] LOG record COMMAND...
 *     injector [-p PID] LOG ROLE NUMBER INDEX ACTION VALUE COMMAND...
 *
 * A role is a process's place in the tree: "0" is COMMAND, "0.1" the first process that it makes, "0.1.1" the first
 * that this one makes; "p" is PID, a process that is there already.  A process is followed until it executes something
 * that is neither COMMAND nor a pyrunc-init: the container's program, a hook.
 *
 * INDEX counts the calls of that NUMBER in that role, from 1.  ACTION is
 *
 *     errno    the call is not made and fails with VALUE
 *     after    the call is made, and then fails with VALUE
 *     signal   the process gets the signal VALUE as it enters the call
 *     delay    the process waits VALUE milliseconds before the call
 *
 * LOG gets a line for each call while recording: role, number, index, result, what its first two arguments mean, where
 * they are strings or may be descriptors; and "hit" when the call that is meant was met.  The exit status is COMMAND's, 128 and more for signals.
 *
 * Written with ptrace(2), not a seccomp filter: nothing is inherited, so that a container is what it is otherwise.
 */

#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <linux/ptrace.h>

#define OPTIONS                                                                                        \
	(PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE |      \
	 PTRACE_O_TRACEEXEC)
#define PROCESSES 1024
#define NUMBERS 1024

struct process {
	pid_t pid;
	char role[64];
	int children;
	int executed;                   /* it is what it was started as: counted from here on */
	int spoilt;                     /* the call that it is in fails at its end */
	int nr;                         /* of that call, -1: none */
	char path[2][64];
	unsigned counts[NUMBERS];
};

static struct process table[PROCESSES];
static FILE *out;
static const char *role, *action;
static long number, occurrence, value;
static int recording, done;

static void die(const char *what)
{
	perror(what);
	exit(125);
}

static struct process *find(pid_t pid, int make)
{
	struct process *unused = NULL;

	for (struct process *p = table; p < table + PROCESSES; p++) {
		if (p->pid == pid)
			return p;
		if (!p->pid && !unused)
			unused = p;
	}
	if (!make)
		return NULL;
	if (!unused)
		die("too many processes");
	memset(unused, 0, sizeof(*unused));
	unused->pid = pid;
	unused->nr = -1;
	unused->executed = 1;
	return unused;
}

/* What an argument means: the string that it points to, or what a descriptor of the number is. */
static void text(pid_t pid, uint64_t address, char *to)
{
	struct iovec local = { to, 63 }, remote = { (void *)address, 63 };
	ssize_t n;

	*to = 0;
	if (address < 4096) {
		char link[64];

		snprintf(link, sizeof(link), "/proc/%d/fd/%d", pid, (int)address);
		n = readlink(link, to, 63);
		to[n > 0 ? n : 0] = 0;
		for (char *c = to; *c; c++)
			if (*c == ' ')
				*c = '_';
		return;
	}
	n = process_vm_readv(pid, &local, 1, &remote, 1, 0);
	if (n < 0) {            /* up to the end of the page */
		remote.iov_len = 4096 - address % 4096;
		n = remote.iov_len < 63 ? process_vm_readv(pid, &local, 1, &remote, 1, 0) : 0;
	}
	to[n > 0 ? n : 0] = 0;
	for (char *c = to; *c; c++)
		if (*c <= ' ' || *c > '~') {
			*to = 0;
			return;
		}
}

#if defined(__x86_64__)
static void skip(pid_t pid)
{
	ptrace(PTRACE_POKEUSER, pid, offsetof(struct user_regs_struct, orig_rax), -1L);
}

static void result(pid_t pid, long code)
{
	ptrace(PTRACE_POKEUSER, pid, offsetof(struct user_regs_struct, rax), -code);
}
#elif defined(__aarch64__)
static void skip(pid_t pid)
{
	int none = -1;
	struct iovec it = { &none, sizeof(none) };

	ptrace(PTRACE_SETREGSET, pid, NT_ARM_SYSTEM_CALL, &it);
}

static void result(pid_t pid, long code)
{
	struct user_regs_struct registers;
	struct iovec it = { &registers, sizeof(registers) };

	ptrace(PTRACE_GETREGSET, pid, NT_PRSTATUS, &it);
	registers.regs[0] = -code;
	ptrace(PTRACE_SETREGSET, pid, NT_PRSTATUS, &it);
}
#endif

static void enter(struct process *p, struct ptrace_syscall_info *info)
{
	unsigned long nr = info->entry.nr;
	unsigned index;

	p->nr = p->executed && nr < NUMBERS ? (int)nr : -1;
	p->spoilt = 0;
	if (p->nr < 0)
		return;
	index = ++p->counts[nr];
	if (recording) {
		text(p->pid, info->entry.args[0], p->path[0]);
		if (info->entry.args[1] >= 4096)
			text(p->pid, info->entry.args[1], p->path[1]);
		else
			*p->path[1] = 0;
		return;
	}
	if (done || (long)nr != number || (long)index != occurrence || strcmp(p->role, role))
		return;
	done = 1;
	fprintf(out, "hit\n");
	fflush(out);
	if (!strcmp(action, "errno")) {
		skip(p->pid);
		p->spoilt = 1;
	} else if (!strcmp(action, "after")) {
		p->spoilt = 1;
	} else if (!strcmp(action, "signal")) {
		kill(p->pid, value);
	} else if (!strcmp(action, "delay")) {
		struct timespec pause = { value / 1000, value % 1000 * 1000000 };
		nanosleep(&pause, NULL);
	}
}

static void leave(struct process *p, struct ptrace_syscall_info *info)
{
	if (p->spoilt)
		result(p->pid, value);
	else if (recording && p->nr >= 0)
		fprintf(out, "%s %d %u %ld %s %s\n", p->role, p->nr, p->counts[p->nr], (long)info->exit.rval,
			*p->path[0] ? p->path[0] : "-", *p->path[1] ? p->path[1] : "-");
	p->spoilt = 0;
	p->nr = -1;
}

/* Whether what it executes now is still ours to follow. */
static int ours(struct process *p)
{
	char link[64], target[256];
	ssize_t n;

	if (!p->executed) {
		p->executed = 1;
		return 1;
	}
	snprintf(link, sizeof(link), "/proc/%d/exe", p->pid);
	n = readlink(link, target, sizeof(target) - 1);
	target[n > 0 ? n : 0] = 0;
	return !strcmp(p->role, "0") || strstr(target, "memfd:pyrunc-init");
}

/* A process that p has just made gets its role. */
static void made(struct process *p)
{
	unsigned long pid = 0;
	struct process *child;

	ptrace(PTRACE_GETEVENTMSG, p->pid, 0, &pid);
	child = find((pid_t)pid, 1);
	snprintf(child->role, sizeof(child->role), "%.50s.%d", p->role, ++p->children);
}

static void go_on(pid_t pid, int signal)
{
	/* ESRCH: it has been killed meanwhile, and is told of next. */
	if (ptrace(PTRACE_SYSCALL, pid, 0, (long)signal) && errno != ESRCH)
		die("PTRACE_SYSCALL");
}

static void stopped(pid_t pid, int status)
{
	struct process *p = find(pid, 1);
	int signal = WSTOPSIG(status), event = status >> 16;
	struct ptrace_syscall_info info;

	if (event == PTRACE_EVENT_FORK || event == PTRACE_EVENT_VFORK || event == PTRACE_EVENT_CLONE) {
		made(p);
	} else if (event == PTRACE_EVENT_EXEC) {
		if (!ours(p)) {
			p->pid = 0;
			ptrace(PTRACE_DETACH, pid, 0, 0L);
			return;
		}
	} else if (event == PTRACE_EVENT_STOP) {
		/* Its first stop, or a group-stop, in which it has to stay. */
		if (signal == SIGSTOP || signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU) {
			ptrace(PTRACE_LISTEN, pid, 0, 0);
			return;
		}
	} else if (!event && signal == (SIGTRAP | 0x80)) {
		if (ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(info), &info) > 0) {
			if (info.op == PTRACE_SYSCALL_INFO_ENTRY)
				enter(p, &info);
			else if (info.op == PTRACE_SYSCALL_INFO_EXIT)
				leave(p, &info);
		}
	} else if (!event) {
		go_on(pid, signal);     /* it gets its signal */
		return;
	}
	go_on(pid, 0);
}

/* Let go of all that still lives: the init of a container that was created. */
static void detach(void)
{
	for (struct process *p = table; p < table + PROCESSES; p++)
		if (p->pid)
			ptrace(PTRACE_INTERRUPT, p->pid, 0, 0);
	for (struct process *p = table; p < table + PROCESSES; p++) {
		int status, signal;

		if (!p->pid)
			continue;
		while (waitpid(p->pid, &status, __WALL) == p->pid && WIFSTOPPED(status)) {
			signal = status >> 16 || WSTOPSIG(status) == (SIGTRAP | 0x80) ? 0 : WSTOPSIG(status);
			if (!ptrace(PTRACE_DETACH, p->pid, 0, (long)signal))
				break;
		}
	}
}

static struct process *seize(pid_t pid, const char *name)
{
	struct process *p = find(pid, 1);

	strcpy(p->role, name);
	if (ptrace(PTRACE_SEIZE, pid, 0, OPTIONS) || ptrace(PTRACE_INTERRUPT, pid, 0, 0))
		die("PTRACE_SEIZE");
	return p;
}

int main(int argc, char **argv)
{
	pid_t other = 0, command;
	int status, ready[2];
	char byte;

	argv++;
	if (argc > 3 && !strcmp(*argv, "-p")) {
		other = atoi(argv[1]);
		argv += 2;
	}
	out = fopen(*argv, "we");
	if (!out)
		die(*argv);
	argv++;
	recording = !strcmp(*argv, "record");
	if (recording) {
		argv++;
	} else {
		role = argv[0];
		number = atol(argv[1]);
		occurrence = atol(argv[2]);
		action = argv[3];
		value = atol(argv[4]);
		argv += 5;
	}
	if (pipe(ready))
		die("pipe");
	command = fork();
	if (!command) {
		close(ready[1]);
		if (read(ready[0], &byte, 1) == 1) {
			close(ready[0]);
			execv(*argv, argv);
		}
		die(*argv);
	}
	close(ready[0]);
	seize(command, "0")->executed = 0;
	if (other)
		seize(other, "p");
	if (waitpid(command, &status, __WALL) != command)
		die("waitpid");
	stopped(command, status);
	if (write(ready[1], "", 1) != 1)
		die("write");
	close(ready[1]);
	for (;;) {
		pid_t pid = waitpid(-1, &status, __WALL);
		struct process *p;

		if (pid < 0)
			die("waitpid");
		if (WIFSTOPPED(status)) {
			stopped(pid, status);
			continue;
		}
		p = find(pid, 0);
		if (p)
			p->pid = 0;
		if (pid != command)
			continue;
		detach();
		fclose(out);
		return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	}
}
