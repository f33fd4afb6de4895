/* heap.c: the memory that becomes part of the executable. */

#include <stddef.h>

extern char heap[], *heap_top;     /* by malloc */
extern char arenas[], *arenas_top; /* by CPython's allocator of small objects */
extern int saved;                  /* whether this is an executable made from the image */

/* The functions of a PyObjectArenaAllocator. */
void *take_arena(void *context, size_t size);
void give_arena(void *context, void *arena, size_t size);
