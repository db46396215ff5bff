/* The arena's chunks: small ones first, larger ones when a request turns out to be large. */
#include "base/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { CHUNK_FIRST = 2048, CHUNK_MAX = 65536, ALIGN = 16 };

struct sh_arena_chunk {
    sh_arena_chunk_t *next;
    size_t size;
};

void sh_arena_init(sh_arena_t *a) { *a = (sh_arena_t){.chunk_size = CHUNK_FIRST}; }

void sh_arena_dispose(sh_arena_t *a) {
    for (sh_arena_chunk_t *c = a->chunks, *next; c; c = next) next = c->next, free(c);
    sh_arena_init(a);
}

void sh_arena_reset(sh_arena_t *a) {
    if (!a->chunks) return;
    sh_arena_chunk_t *keep = a->chunks;
    while (keep->next) {
        sh_arena_chunk_t *next = keep->next;
        free(keep);
        keep = next;
    }
    a->chunks = keep;
    a->at = (char *)(keep + 1);
    a->end = (char *)keep + keep->size;
    a->chunk_size = CHUNK_FIRST * 2;
    a->total = keep->size;
}

void *sh_arena_alloc(sh_arena_t *a, size_t size) {
    SH_ASSERT(size <= SIZE_MAX / 2);
    size = (size + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    if (SH_UNLIKELY((size_t)(a->end - a->at) < size || !a->at)) {
        size_t need = size + sizeof(sh_arena_chunk_t);
        size_t take = need > a->chunk_size ? need : a->chunk_size;
        sh_arena_chunk_t *c = sh_alloc(take);
        c->next = a->chunks;
        c->size = take;
        a->chunks = c;
        a->total += take;
        a->at = (char *)(c + 1);
        a->end = (char *)c + take;
        if (a->chunk_size < CHUNK_MAX) a->chunk_size *= 2;
    }
    void *p = a->at;
    a->at += size;
    return p;
}

void *sh_arena_calloc(sh_arena_t *a, size_t size) { return memset(sh_arena_alloc(a, size), 0, size); }

sh_str_t sh_arena_str(sh_arena_t *a, sh_str_t s) {
    char *p = sh_arena_alloc(a, s.len + 1);
    if (s.len) memcpy(p, s.ptr, s.len);
    p[s.len] = 0;
    return sh_str(p, s.len);
}

char *sh_arena_printf(sh_arena_t *a, const char *fmt, ...) {
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    SH_ASSERT(n >= 0);
    char *p = sh_arena_alloc(a, (size_t)n + 1);
    vsnprintf(p, (size_t)n + 1, fmt, again);
    va_end(again);
    va_end(args);
    return p;
}
