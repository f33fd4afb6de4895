/*
 * pyrunc-init: executes programs of system calls that arrive over a socket.
 *
 *     pyrunc-init FD
 *
 * It holds no policy: no paths, no options, no parsing.  What a program looks
 * like is written down in docs/machine.md; pyrunc/machine/assembler.py writes
 * programs and session.py speaks the other side of the socket.  The constants
 * here and there are compared by tests/machine/test_layout.py.
 *
 * Freestanding: no libc, no relocation, no allocation.  All state lives in the
 * arena, mapped at a fixed address, so that the assembler can write final
 * pointers.  Jumps go forward only, so every program ends.
 */

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;
typedef long s64;

#define ARENA 0x10000000ul
#define ARENA_SIZE 0x1000000ul          /* 16 MiB of address space, touched as needed */
#define PROGRAM (ARENA + 0x1000)        /* ops, then data */
#define SPACE (ARENA + 0xe00000)        /* memory for results, zeroed as the program asks */
#define TRACE (ARENA + 0xf00000)        /* times, when the program asks for them */
#define REGISTERS 128                   /* at ARENA; register 0 is the session's descriptor */
#define HEADER (ARENA + 0x800)          /* of the program: its flags may be read into while it runs */
#define ON_SIGNAL (ARENA + 0xc00)       /* a struct sigaction: whom the signal ends, with 128 and its number */
#define PROGRAM_SIZE (SPACE - PROGRAM)
#define SPACE_SIZE (TRACE - SPACE)
#define TRACE_ENTRIES ((ARENA + ARENA_SIZE - TRACE) / sizeof(struct entry))

#define MAGIC 0x4e525950u               /* "PYRN" */
#define TRACING 1u                      /* header flag: record a time after each op */
#define NOWHERE 0xff                    /* op.dst: the result is not kept */
#define ONLY 1                          /* op.flags: jump on the listed errnos only */

#define PSEUDO 0x80000000u
enum { MOVE, STORE, LOAD, CHECK, REPLY };
enum { CONSTANT, VALUE, ADDRESS };      /* kinds of arguments */
enum { BROKEN_SESSION = 120, BAD_PROGRAM, BAD_START };  /* exit statuses */

#define EINVAL 22
#define EINTR 4

struct op {
	u64 arg[6];
	u32 nr;
	u16 kinds;                      /* two bits an argument */
	u8 dst;
	u8 flags;
	u16 error, zero;                /* ops to go on with; 0: none */
	u8 ok[4];                       /* errnos that count as success; or, with ONLY, that jump */
};

struct header {
	u32 magic, ops, data, space, flags, reserved;
};

struct reply {
	u32 magic, op, error, length, times, reserved;
};

struct entry {
	u64 op, time;
};

struct action {
	void (*handler)(int);
	u64 flags;
	void (*restorer)(int);
	u64 mask;
};

struct timespec {
	s64 seconds, nanoseconds;
};

#if defined(__x86_64__)
enum { NR_read = 0, NR_write = 1, NR_mmap = 9, NR_clock_gettime = 228, NR_exit_group = 231,
       NR_clone = 56, NR_clone3 = 435, NR_prctl = 157 };

static s64 call(u64 nr, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f)
{
	register u64 r10 __asm__("r10") = d;
	register u64 r8 __asm__("r8") = e;
	register u64 r9 __asm__("r9") = f;
	s64 result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

__asm__(".globl _start\n"
	"_start:\n"
	"	xor %ebp, %ebp\n"
	"	mov %rsp, %rdi\n"
	"	and $-16, %rsp\n"
	"	call start\n");
#elif defined(__aarch64__)
enum { NR_read = 63, NR_write = 64, NR_mmap = 222, NR_clock_gettime = 113, NR_exit_group = 94,
       NR_clone = 220, NR_clone3 = 435, NR_prctl = 167 };

static s64 call(u64 nr, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f)
{
	register u64 x8 __asm__("x8") = nr;
	register u64 x0 __asm__("x0") = a;
	register u64 x1 __asm__("x1") = b;
	register u64 x2 __asm__("x2") = c;
	register u64 x3 __asm__("x3") = d;
	register u64 x4 __asm__("x4") = e;
	register u64 x5 __asm__("x5") = f;

	__asm__ volatile("svc #0"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
			 : "memory");
	return x0;
}

__asm__(".globl _start\n"
	"_start:\n"
	"	mov x29, #0\n"
	"	mov x0, sp\n"
	"	bl start\n");
#else
#error "pyrunc-init knows x86_64 and aarch64"
#endif

static u64 *const registers = (u64 *)ARENA;
static volatile struct header *const head = (struct header *)HEADER;
static u32 times;

static void leave(int status)
{
	call(NR_exit_group, status, 0, 0, 0, 0, 0);
	/* A seccomp filter may refuse even that: die of a fault, in place of running on. */
	__builtin_trap();
}

static void ended(int signal)
{
	leave(128 + signal);
}

/* Move exactly `length` bytes; whoever waits for a peer that is gone has no more use. */
static void transfer(int nr, u64 address, u64 length)
{
	while (length) {
		s64 n = call(nr, registers[0], address, length, 0, 0, 0);
		if (n == -EINTR)
			continue;
		if (n <= 0)
			leave(BROKEN_SESSION);
		address += n;
		length -= n;
	}
}

static int within(u64 address, u64 length)
{
	return address >= ARENA && length <= ARENA_SIZE && address - ARENA <= ARENA_SIZE - length;
}

static void reply(u32 op, u32 error, u64 address, u32 length)
{
	struct reply answer = { MAGIC, op, error, length, times, 0 };

	transfer(NR_write, (u64)&answer, sizeof(answer));
	transfer(NR_write, address, length);
	transfer(NR_write, TRACE, times * sizeof(struct entry));
	times = 0;
}

/* Receive the next program, and refuse what no assembler would write. */
static void receive(void)
{
	struct op *ops = (struct op *)PROGRAM;
	u64 size;
	u32 i, k;

	transfer(NR_read, HEADER, sizeof(*head));
	size = head->ops * sizeof(struct op) + (u64)head->data;
	if (head->magic != MAGIC || !head->ops || head->ops > 0xffff ||
	    size > PROGRAM_SIZE || head->space > SPACE_SIZE)
		leave(BAD_PROGRAM);
	transfer(NR_read, PROGRAM, size);
	for (i = 0; i < head->space; i++)
		((volatile u8 *)SPACE)[i] = 0;
	for (i = 0; i < head->ops; i++) {
		struct op *op = ops + i;
		if ((op->error && (op->error <= i || op->error >= head->ops)) ||
		    (op->zero && (op->zero <= i || op->zero >= head->ops)) ||
		    (op->dst != NOWHERE && op->dst >= REGISTERS) ||
		    (op->flags & ONLY && !op->error) ||
		    op->nr > PSEUDO + REPLY)
			leave(BAD_PROGRAM);
		for (k = 0; k < 6; k++) {
			u32 kind = op->kinds >> 2 * k & 3;
			if (kind > ADDRESS || (kind && op->arg[k] >= REGISTERS))
				leave(BAD_PROGRAM);
		}
	}
}

static u64 load(u64 address, u64 width)
{
	switch (width) {
	case 1:
		return *(u8 *)address;
	case 2:
		return *(u16 *)address;
	case 4:
		return *(u32 *)address;
	default:
		return *(u64 *)address;
	}
}

static s64 pseudo(u32 nr, u64 *a)
{
	switch (nr - PSEUDO) {
	case MOVE:              /* value, and what makes it negative: ~0 and 1 */
		return (a[0] ^ a[1]) + a[2];
	case STORE:             /* address, value, width */
		if (!within(a[0], 8))
			return -EINVAL;
		if (a[2] == 8)
			*(u64 *)a[0] = a[1];
		else if (a[2] == 4)
			*(u32 *)a[0] = a[1];
		else
			return -EINVAL;
		return 0;
	case LOAD:              /* address, width */
		return within(a[0], 8) ? (s64)load(a[0], a[1]) : -EINVAL;
	default:                /* CHECK: address, width, mask, value, errno */
		if (!within(a[0], 8))
			return -EINVAL;
		return (load(a[0], a[1]) & a[2]) == a[3] ? 0 : -(s64)a[4];
	}
}

static int listed(const struct op *op, s64 result)
{
	int i;

	for (i = 0; i < 4; i++)
		if (op->ok[i] && -(s64)op->ok[i] == result)
			return 1;
	return 0;
}

static void record(u32 op)
{
	struct timespec now;
	struct entry *entry = (struct entry *)TRACE + times;

	if (times == TRACE_ENTRIES)
		return;
	call(NR_clock_gettime, 1, (u64)&now, 0, 0, 0, 0);  /* CLOCK_MONOTONIC */
	entry->op = op;
	entry->time = now.seconds * 1000000000 + now.nanoseconds;
	times++;
}

/* Execute the program that lies in the arena; come back when another is wanted. */
static void run(void)
{
	const struct op *ops = (const struct op *)PROGRAM;
	u32 i = 0, k;

	if (head->flags & TRACING)
		record(head->ops);      /* the program begins */
	while (i < head->ops) {
		const struct op *op = ops + i;
		u64 a[6];
		s64 result;

		for (k = 0; k < 6; k++) {
			u32 kind = op->kinds >> 2 * k & 3;
			a[k] = kind == VALUE ? registers[op->arg[k]] :
			       kind == ADDRESS ? (u64)(registers + op->arg[k]) : op->arg[k];
		}
		if (op->nr == PSEUDO + REPLY) {         /* address, length, wait */
			if (!within(a[0], a[1]))
				leave(BAD_PROGRAM);
			if (head->flags & TRACING)
				record(i);
			reply(i, 0, a[0], a[1]);
			if (a[2])
				return;
			i++;
			continue;
		}
		if (op->nr >= PSEUDO)
			result = pseudo(op->nr, a);
		else
			result = call(op->nr, a[0], a[1], a[2], a[3], a[4], a[5]);
		if ((op->nr == NR_clone3 || op->nr == NR_clone) && !result)
			times = 0;              /* the parent tells of what was before */
		if (head->flags & TRACING)
			record(i);
		if (op->dst != NOWHERE)
			registers[op->dst] = result;
		if (result < 0 && result >= -4095 && op->nr != PSEUDO + MOVE) {
			int is_listed = listed(op, result);
			if (op->flags & ONLY ? is_listed : op->error && !is_listed) {
				i = op->error;
				continue;
			}
			if (op->flags & ONLY || !is_listed) {
				reply(i, -result, 0, 0);
				return;
			}
		} else if (!result && op->zero) {
			i = op->zero;
			continue;
		}
		i++;
	}
	reply(head->ops, 0, 0, 0);      /* the end of the program */
}

__attribute__((used)) void start(u64 *stack)
{
	const char *text = (const char *)stack[2];
	u64 fd = 0;

	/*
	 * PR_SET_DUMPABLE: from here on nobody looks into this process, or one that it makes, by owning a user
	 * namespace that it goes through on its way into a container (docs/security.md).
	 */
	if (call(NR_prctl, 4, 0, 0, 0, 0, 0))
		leave(BAD_START);
	if (stack[0] != 2 || !*text)
		leave(BAD_START);
	for (; *text; text++) {
		if (*text < '0' || *text > '9' || fd > 0xffffff)
			leave(BAD_START);
		fd = fd * 10 + (*text - '0');
	}
	/* PROT_READ|PROT_WRITE; MAP_PRIVATE|MAP_ANONYMOUS|MAP_NORESERVE|MAP_FIXED_NOREPLACE */
	if (call(NR_mmap, ARENA, ARENA_SIZE, 3, 0x104022, -1, 0) != (s64)ARENA)
		leave(BAD_START);
	registers[0] = fd;
	/* For programs, which know no addresses of code. 0x04000000: SA_RESTORER, which x86_64 insists on. */
	*(struct action *)ON_SIGNAL = (struct action){ ended, 0x04000000, ended, 0 };
	for (;;) {
		receive();
		run();
	}
}
