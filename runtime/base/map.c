/* Linear probing with backward-shift deletion: no tombstones, so that a map that churns does not decay. */
#include "base/map.h"

#include <stdlib.h>

void sh_map_dispose(sh_map_t *m) {
    for (size_t i = 0; i < m->cap; i++) free(m->entries[i].key);
    free(m->entries);
    *m = (sh_map_t){0};
}

static size_t place_of(const sh_map_t *m, sh_str_t key, uint64_t hash) {
    size_t i = hash & (m->cap - 1);
    while (m->entries[i].key && !(m->entries[i].hash == hash && sh_str_eq(sh_str(m->entries[i].key, m->entries[i].key_len), key)))
        i = (i + 1) & (m->cap - 1);
    return i;
}

void *sh_map_get(const sh_map_t *m, sh_str_t key) {
    if (!m->count) return NULL;
    const sh_map_entry_t *e = &m->entries[place_of(m, key, sh_str_hash(key))];
    return e->key ? e->value : NULL;
}

static void grow(sh_map_t *m) {
    sh_map_t bigger = {.cap = m->cap ? m->cap * 2 : 16, .count = m->count};
    bigger.entries = sh_calloc(bigger.cap, sizeof *bigger.entries);
    for (size_t i = 0; i < m->cap; i++) {
        const sh_map_entry_t *e = &m->entries[i];
        if (e->key) bigger.entries[place_of(&bigger, sh_str(e->key, e->key_len), e->hash)] = *e;
    }
    free(m->entries);
    *m = bigger;
}

void *sh_map_set(sh_map_t *m, sh_str_t key, void *value) {
    SH_ASSERT(value);
    if ((m->count + 1) * 4 > m->cap * 3) grow(m);
    uint64_t hash = sh_str_hash(key);
    sh_map_entry_t *e = &m->entries[place_of(m, key, hash)];
    void *before = e->value;
    if (!e->key) {
        e->key = sh_alloc(key.len + 1);
        if (key.len) memcpy(e->key, key.ptr, key.len);
        e->key[key.len] = 0;
        e->key_len = key.len;
        e->hash = hash;
        m->count++;
        before = NULL;
    }
    e->value = value;
    return before;
}

void *sh_map_remove(sh_map_t *m, sh_str_t key) {
    if (!m->count) return NULL;
    size_t i = place_of(m, key, sh_str_hash(key));
    if (!m->entries[i].key) return NULL;
    void *value = m->entries[i].value;
    free(m->entries[i].key);
    m->entries[i] = (sh_map_entry_t){0};
    m->count--;
    for (size_t j = (i + 1) & (m->cap - 1); m->entries[j].key; j = (j + 1) & (m->cap - 1)) {
        size_t home = m->entries[j].hash & (m->cap - 1);
        if (((j - home) & (m->cap - 1)) >= ((j - i) & (m->cap - 1))) {
            m->entries[i] = m->entries[j];
            m->entries[j] = (sh_map_entry_t){0};
            i = j;
        }
    }
    return value;
}

sh_map_entry_t *sh_map_next(const sh_map_t *m, size_t *cursor) {
    while (*cursor < m->cap) {
        sh_map_entry_t *e = &m->entries[(*cursor)++];
        if (e->key) return e;
    }
    return NULL;
}
