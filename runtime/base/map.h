/* A hash map from byte strings to pointers, open addressing; keys are copied, values are the caller's. */
#ifndef SH_MAP_H
#define SH_MAP_H

#include "base/base.h"
#include "base/str.h"

typedef struct sh_map_entry {
    char *key; /* owned, NUL-terminated; NULL in an empty place */
    uint64_t hash;
    size_t key_len;
    void *value;
} sh_map_entry_t;

typedef struct sh_map {
    sh_map_entry_t *entries;
    size_t count, cap; /* cap is 0 or a power of two */
} sh_map_t;

static inline void sh_map_init(sh_map_t *m) { *m = (sh_map_t){0}; }
void sh_map_dispose(sh_map_t *m);

/* Returns the value, or NULL. */
void *sh_map_get(const sh_map_t *m, sh_str_t key);
/* Sets or replaces; returns the value it replaced, or NULL. `value` is not NULL. */
void *sh_map_set(sh_map_t *m, sh_str_t key, void *value);
/* Removes; returns the value, or NULL. */
void *sh_map_remove(sh_map_t *m, sh_str_t key);

/* Walks all entries in no order: for (size_t i = 0; (e = sh_map_next(m, &i));) */
sh_map_entry_t *sh_map_next(const sh_map_t *m, size_t *cursor);

#endif
