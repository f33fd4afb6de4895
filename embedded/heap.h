/* heap.c: the memory that becomes part of the executable. */

#include <stddef.h>

#define HEAP_SIZE ((size_t)15 << 20)

/* Memory by malloc: what commands leave alone, what they may write to, if only a count of references, and what they do write to. */
enum { COLD, WARM, HOT, HEAPS };
extern struct heap { char *start, *top; } heaps[HEAPS];

extern int saved; /* whether this is an executable made from the image */

/* Take from a file which heap an allocation's memory is to lie in, if the file is there: pairs of its number and the heap's; -1 on error. */
int read_places(const char *file);

/* Note which heap the block that an address lies in had better be in. */
void note_place(const void *object, int heap);

/* Write what was noted to a file; -1 on error. */
int write_places(const char *file);

/* The functions of a PyObjectArenaAllocator, for what CPython allocates by itself all the same. */
void *take_arena(void *context, size_t size);
void give_arena(void *context, void *arena, size_t size);
