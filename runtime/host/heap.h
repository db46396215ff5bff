/* Memory for one Lua state: small blocks from free lists by size, large ones from malloc, all of it given back when the state ends.
 *
 * Lua allocates and frees objects of a few sizes all the time and always tells a block's size, so a block needs no header, and allocating
 * is taking the first of a list. Not for threads. Under AddressSanitizer every block comes from malloc, so that it sees them. */
#ifndef SH_HEAP_H
#define SH_HEAP_H

#include "base/base.h"

enum { SH_HEAP_CLASS_BYTES = 16, SH_HEAP_SMALL_MAX = 512, SH_HEAP_CLASSES = SH_HEAP_SMALL_MAX / SH_HEAP_CLASS_BYTES + 1 };

typedef struct sh_heap_slab sh_heap_slab_t;

typedef struct sh_heap {
    void *free[SH_HEAP_CLASSES]; /* first free block of each size; a free block holds the next one */
    char *at, *end;              /* what is left of the newest slab */
    sh_heap_slab_t *slabs;
} sh_heap_t;

static inline void sh_heap_init(sh_heap_t *heap) { *heap = (sh_heap_t){0}; }
/* Small blocks go at once; large ones must have been freed before (lua_close does). */
void sh_heap_dispose(sh_heap_t *heap);

/* A new block of a size that is not 0; NULL when the system has no memory. */
void *sh_heap_alloc_slow(sh_heap_t *heap, size_t size);
static inline void *sh_heap_alloc(sh_heap_t *heap, size_t size) {
    size_t class = (size + SH_HEAP_CLASS_BYTES - 1) / SH_HEAP_CLASS_BYTES;
    void *block = size <= SH_HEAP_SMALL_MAX ? heap->free[class] : NULL;
    if (SH_UNLIKELY(!block)) return sh_heap_alloc_slow(heap, size);
    heap->free[class] = *(void **)block;
    return block;
}
/* As realloc, with the block's true old size; 0 for none. new_size is not 0. NULL when the system has no memory: the block stays. */
void *sh_heap_resize(sh_heap_t *heap, void *block, size_t old_size, size_t new_size);
void sh_heap_free(sh_heap_t *heap, void *block, size_t size);

#endif
