/* malloc(3) of the image: what the stage allocates lies in static memory, which becomes part of the executable.
 *
 * CPython counts references in the objects themselves, so that who uses one writes to its page, and the kernel copies that. What commands use
 * lies together in hot[], everything else in heap[]. Which is which the stage finds out when it runs for the first time, by the number of an
 * allocation: it makes the same ones each time.
 * An executable that was made from the image (`saved`) allocates from glibc's heap, and leaves alone what it frees of the stage's: to reuse
 * holes there would copy the pages that they are in.
 *
 * Compiled with -fno-builtin: GCC would turn calloc into a call of itself.
 */

#include "heap.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define MOST 4000000     /* allocations */
#define FIRST 1000       /* number of the first that matters */
#define UNIT 16          /* alignment of malloc */
#define CLASSES 4096     /* free lists: blocks of up to CLASSES * UNIT bytes */

/* In sections of their own, which the linker puts behind .bss in this order (build_embedded.py gives addresses). */
static char hot[HEAP_SIZE] __attribute__((section(".image_hot,\"aw\",@nobits#"), aligned(4096)));
static char warm[HEAP_SIZE] __attribute__((section(".image_warm,\"aw\",@nobits#"), aligned(4096)));
static char cold[HEAP_SIZE] __attribute__((section(".image_cold,\"aw\",@nobits#"), aligned(4096)));
struct heap heaps[HEAPS] = {{cold, cold}, {warm, warm}, {hot, hot}};
int saved;

/* Before each block. size: a multiple of UNIT less its own. number: of the allocation. */
struct block { uint32_t size, number; };
struct hole { struct hole *next; };
static struct hole *holes[HEAPS][CLASSES + 1];

/* Of the stage alone, no part of the image. place, noted: index of a heap by the number of an allocation. begins: where blocks begin. */
struct notes { unsigned char place[MOST], noted[MOST], begins[HEAPS][HEAP_SIZE / UNIT]; };
static struct notes *notes;
static uint32_t number;

/* glibc's own, under the names that it has for programs like this one. */
extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t), *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

/* The index of the heap that a place lies in; HEAPS for glibc's. */
static int
heap_of(const void *place)
{
    int heap;

    for (heap = 0; heap < HEAPS; heap++)
        if ((uintptr_t)place - (uintptr_t)heaps[heap].start < HEAP_SIZE)
            break;
    return heap;
}

static int
of_the_stage(const void *place)
{
    return heap_of(place) < HEAPS;
}

static struct block *
header(void *place)
{
    return (struct block *)place - 1;
}

/* Where it is noted whether a block begins at a place. */
static unsigned char *
begins(const void *place)
{
    int heap = heap_of(place);

    return &notes->begins[heap][((uintptr_t)place - (uintptr_t)heaps[heap].start) / UNIT];
}

static void *
out_of_memory(void)
{
    errno = ENOMEM;
    return NULL;
}

/* A new block, aligned as said. */
static void *
take(size_t size, size_t alignment)
{
    struct heap *heap;
    struct hole **hole;
    char *place;

    if (!notes) {
        void *memory = mmap(NULL, sizeof *notes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED)
            return out_of_memory();
        notes = memory;
    }
    if (number + 1 >= MOST || size > HEAP_SIZE)
        return out_of_memory();
    heap = &heaps[notes->place[++number]];
    size = ((size + sizeof(struct block) + UNIT - 1) & ~(size_t)(UNIT - 1)) - sizeof(struct block);
    hole = size / UNIT <= CLASSES ? &holes[heap - heaps][size / UNIT] : NULL;
    if (hole && *hole && alignment <= UNIT) {
        place = (char *)*hole;
        *hole = (*hole)->next;
    } else {
        place = (char *)(((uintptr_t)heap->top + sizeof(struct block) + alignment - 1) & ~(uintptr_t)(alignment - 1));
        if (place + size > heap->start + HEAP_SIZE)
            return out_of_memory();
        heap->top = place + size;
    }
    header(place)->size = (uint32_t)size;
    header(place)->number = number;
    *begins(place) = 1;
    return place;
}

void *
malloc(size_t size)
{
    return saved ? __libc_malloc(size) : take(size, UNIT);
}

void
free(void *place)
{
    if (!place)
        return;
    if (!of_the_stage(place)) {
        __libc_free(place);
    } else if (!saved) {
        size_t size = header(place)->size;
        /* No remains of what was there: the same bytes from the same inputs. */
        memset(place, 0, size);
        *begins(place) = 0;
        if (size / UNIT <= CLASSES) {
            struct hole *hole = place;
            struct hole **list = &holes[heap_of(place)][size / UNIT];
            hole->next = *list;
            *list = hole;
        }
    }
}

void *
calloc(size_t number_, size_t size)
{
    size_t total;
    void *place;

    if (saved)
        return __libc_calloc(number_, size);
    if (__builtin_mul_overflow(number_, size, &total))
        return out_of_memory();
    place = malloc(total);
    if (place)
        memset(place, 0, total);
    return place;
}

void *
realloc(void *place, size_t size)
{
    void *moved;
    size_t old;

    if (!place)
        return malloc(size);
    if (!of_the_stage(place))
        return __libc_realloc(place, size);
    old = header(place)->size;
    if (size <= old && size > old / 2)
        return place;
    moved = malloc(size);
    if (moved) {
        memcpy(moved, place, size < old ? size : old);
        free(place);
    }
    return moved;
}

void *
memalign(size_t alignment, size_t size)
{
    return saved ? __libc_memalign(alignment, size) : take(size, alignment < UNIT ? UNIT : alignment);
}

void *
aligned_alloc(size_t alignment, size_t size)
{
    return memalign(alignment, size);
}

int
posix_memalign(void **result, size_t alignment, size_t size)
{
    *result = memalign(alignment, size);
    return *result ? 0 : ENOMEM;
}

size_t
malloc_usable_size(void *place)
{
    /* glibc's is not to be had beside ours; who asks (none of CPython's) gets what is certain. */
    return place && of_the_stage(place) ? header(place)->size : 0;
}

int
read_places(const char *file)
{
    FILE *stream = fopen(file, "rb");
    uint32_t entry[2];

    if (!stream && errno != ENOENT)
        return -1;
    while (stream && fread(entry, sizeof entry, 1, stream) == 1)
        if (entry[0] < MOST && entry[1] < HEAPS)
            notes->place[entry[0]] = (unsigned char)entry[1];
    if (stream)
        fclose(stream);
    /* Whatever was allocated until now, by reading or before: what follows has the same numbers each time. */
    number = FIRST;
    return 0;
}

void
note_place(const void *object, int heap)
{
    uintptr_t place = (uintptr_t)object & ~(uintptr_t)(UNIT - 1);

    if (!of_the_stage(object))
        return;
    while (!*begins((void *)place))
        place -= UNIT;
    notes->noted[header((void *)place)->number] = (unsigned char)heap;
}

int
write_places(const char *file)
{
    FILE *stream = fopen(file, "wb");
    uint32_t entry[2];

    if (!stream)
        return -1;
    for (entry[0] = 0; entry[0] < MOST; entry[0]++) {
        entry[1] = notes->noted[entry[0]];
        if (entry[1] && fwrite(entry, sizeof entry, 1, stream) != 1)
            return -1;
    }
    return fclose(stream);
}

void *
take_arena(void *context, size_t size)
{
    void *place;

    (void)context;
    if (!saved)
        return take(size, 4096);
    place = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return place == MAP_FAILED ? NULL : place;
}

void
give_arena(void *context, void *arena, size_t size)
{
    (void)context;
    if (of_the_stage(arena))
        free(arena);
    else
        munmap(arena, size);
}
