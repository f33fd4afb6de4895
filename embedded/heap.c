/* malloc(3) of the image: what the stage allocates lies in static memory, which becomes part of the executable.
 *
 * heap[] takes what CPython allocates by malloc, arenas[] what its allocator of small objects takes by the megabyte. The arenas come last in
 * memory: what of them is unused at the end of the stage is not in the executable, but zero pages, as any .bss.
 * An executable that was made from the image (`saved`) allocates from glibc's heap, and leaves alone what it frees of the stage's: to reuse
 * holes there would copy the pages that they are in.
 *
 * Compiled with -fno-builtin: GCC would turn calloc into a call of itself.
 */

#include "heap.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#define HEAP ((size_t)24 << 20)
#define ARENAS ((size_t)24 << 20)
#define UNIT 16          /* alignment of malloc, and the size of a header */
#define CLASSES 4096     /* free lists: blocks of up to CLASSES * UNIT bytes */

/* In sections of their own, which the linker puts behind .bss in this order (build_embedded.py gives addresses). */
char heap[HEAP] __attribute__((section(".image_heap,\"aw\",@nobits#"), aligned(4096)));
char arenas[ARENAS] __attribute__((section(".image_heap_arenas,\"aw\",@nobits#"), aligned(1 << 20)));
char *heap_top = heap, *arenas_top = arenas;
int saved;

struct block { size_t size, unused; };
struct hole { struct hole *next; };
static struct hole *holes[CLASSES + 1];

/* glibc's own, under the names that it has for programs like this one. */
extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t), *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

static int
of_the_stage(const void *place)
{
    return (uintptr_t)place - (uintptr_t)heap < HEAP;
}

static struct block *
header(void *place)
{
    return (struct block *)place - 1;
}

void *
malloc(size_t size)
{
    struct block *block;
    size_t rounded = (size + UNIT - 1) & ~(size_t)(UNIT - 1);
    struct hole *hole;

    if (saved)
        return __libc_malloc(size);
    if (!rounded)
        rounded = UNIT;
    if (rounded / UNIT <= CLASSES && (hole = holes[rounded / UNIT])) {
        holes[rounded / UNIT] = hole->next;
        return hole;
    }
    if (size > HEAP || rounded + UNIT > (size_t)(heap + HEAP - heap_top)) {
        errno = ENOMEM;
        return NULL;
    }
    block = (struct block *)heap_top;
    block->size = rounded;
    heap_top += rounded + UNIT;
    return block + 1;
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
        if (size / UNIT <= CLASSES) {
            struct hole *hole = place;
            hole->next = holes[size / UNIT];
            holes[size / UNIT] = hole;
        }
    }
}

void *
calloc(size_t number, size_t size)
{
    size_t total;
    void *place;

    if (saved)
        return __libc_calloc(number, size);
    if (__builtin_mul_overflow(number, size, &total)) {
        errno = ENOMEM;
        return NULL;
    }
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
    uintptr_t place;

    if (saved)
        return __libc_memalign(alignment, size);
    place = ((uintptr_t)heap_top + UNIT + alignment - 1) & ~(uintptr_t)(alignment - 1);
    if (size > HEAP || place + size > (uintptr_t)heap + HEAP) {
        errno = ENOMEM;
        return NULL;
    }
    header((void *)place)->size = (size + UNIT - 1) & ~(size_t)(UNIT - 1);
    heap_top = (char *)place + header((void *)place)->size;
    return (void *)place;
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

void *
take_arena(void *context, size_t size)
{
    void *place;

    (void)context;
    if (!saved && size <= (size_t)(arenas + ARENAS - arenas_top)) {
        place = arenas_top;
        arenas_top += size;
        return place;
    }
    place = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return place == MAP_FAILED ? NULL : place;
}

void
give_arena(void *context, void *arena, size_t size)
{
    (void)context;
    if ((uintptr_t)arena - (uintptr_t)arenas >= ARENAS)
        munmap(arena, size);
}
