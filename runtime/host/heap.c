/* Slabs cut into blocks of 16, 32 ... 512 bytes. */
#include "host/heap.h"

#include <stdlib.h>
#include <string.h>

enum { SLAB_BYTES = 65536 };

#if defined(__SANITIZE_ADDRESS__)
enum { SMALL_MAX = 0 };
#else
enum { SMALL_MAX = SH_HEAP_SMALL_MAX };
#endif

struct sh_heap_slab {
    sh_heap_slab_t *next;
    char pad[8]; /* blocks begin at a multiple of 16 */
};

void sh_heap_dispose(sh_heap_t *heap) {
    for (sh_heap_slab_t *s = heap->slabs, *next; s; s = next) next = s->next, free(s);
    sh_heap_init(heap);
}

static inline size_t class_of(size_t size) { return (size + SH_HEAP_CLASS_BYTES - 1) / SH_HEAP_CLASS_BYTES; }

static void *cut(sh_heap_t *heap, size_t class) {
    size_t size = class * SH_HEAP_CLASS_BYTES;
    if ((size_t)(heap->end - heap->at) < size) {
        while ((size_t)(heap->end - heap->at) >= SH_HEAP_CLASS_BYTES) { /* the rest serves smaller ones */
            size_t rest = (size_t)(heap->end - heap->at) / SH_HEAP_CLASS_BYTES;
            if (rest >= SH_HEAP_CLASSES) rest = SH_HEAP_CLASSES - 1;
            *(void **)(void *)heap->at = heap->free[rest];
            heap->free[rest] = heap->at;
            heap->at += rest * SH_HEAP_CLASS_BYTES;
        }
        sh_heap_slab_t *slab = malloc(SLAB_BYTES);
        if (!slab) return NULL;
        slab->next = heap->slabs;
        heap->slabs = slab;
        heap->at = (char *)(slab + 1);
        heap->end = (char *)slab + SLAB_BYTES;
    }
    void *block = heap->at;
    heap->at += size;
    return block;
}

void *sh_heap_alloc_slow(sh_heap_t *heap, size_t size) { return size <= SMALL_MAX ? cut(heap, class_of(size)) : malloc(size); }

void sh_heap_free(sh_heap_t *heap, void *block, size_t size) {
    if (size > SMALL_MAX) {
        free(block);
    } else if (size) {
        size_t class = class_of(size);
        *(void **)block = heap->free[class];
        heap->free[class] = block;
    }
}

void *sh_heap_resize(sh_heap_t *heap, void *block, size_t old_size, size_t new_size) {
    if (old_size > SMALL_MAX && new_size > SMALL_MAX) return realloc(block, new_size);
    if (old_size && old_size <= SMALL_MAX && new_size <= SMALL_MAX && class_of(old_size) == class_of(new_size)) return block;
    void *moved = sh_heap_alloc(heap, new_size);
    if (moved && old_size) {
        memcpy(moved, block, old_size < new_size ? old_size : new_size);
        sh_heap_free(heap, block, old_size);
    }
    return moved;
}
