/* Memory that lives exactly as long as one request or one load: allocated by moving a pointer, freed at once. */
#ifndef SH_ARENA_H
#define SH_ARENA_H

#include "base/base.h"
#include "base/str.h"

typedef struct sh_arena_chunk sh_arena_chunk_t;

typedef struct sh_arena {
    char *at, *end;
    sh_arena_chunk_t *chunks; /* newest first */
    size_t chunk_size;        /* of the next ordinary chunk */
    size_t total;             /* bytes held from the heap */
} sh_arena_t;

/* No memory is taken before the first allocation. */
void sh_arena_init(sh_arena_t *a);
/* Frees everything; the arena can be used again. */
void sh_arena_dispose(sh_arena_t *a);
/* Forgets everything but keeps the first chunk, for the next request on the connection. */
void sh_arena_reset(sh_arena_t *a);

/* Aligned to 16 bytes, never NULL, not zeroed. */
void *sh_arena_alloc(sh_arena_t *a, size_t size) __attribute__((returns_nonnull));
void *sh_arena_calloc(sh_arena_t *a, size_t size) __attribute__((returns_nonnull));
#define SH_ARENA_NEW(a, type) ((type *)sh_arena_calloc((a), sizeof(type)))

/* Copies; the copy has a NUL behind it that len does not count. */
sh_str_t sh_arena_str(sh_arena_t *a, sh_str_t s);
char *sh_arena_printf(sh_arena_t *a, const char *fmt, ...) SH_PRINTF(2, 3);

#endif
