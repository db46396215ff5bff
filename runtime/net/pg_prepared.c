/* The cache of prepared statements, and what kind a statement is by its first word. */
#include "net/pg_prepared.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

void sh_pg_prepared_init(sh_pg_prepared_cache_t *cache, uint32_t max) {
    *cache = (sh_pg_prepared_cache_t){.max = max};
    sh_list_init(&cache->used);
    sh_list_init(&cache->garbage);
}

static void take_out(sh_pg_prepared_cache_t *cache, sh_pg_prepared_t *p) {
    sh_pg_prepared_t **at = &cache->by_text[p->bucket];
    while (*at != p) at = &(*at)->next;
    *at = p->next;
    for (size_t i = 0; i < SH_PG_PLACES; i++)
        if (cache->by_address[i].prepared == p) cache->by_address[i].prepared = NULL;
    sh_list_unlink(&p->link);
    cache->count--;
    p->state = SH_PG_PREPARED_GONE;
    if (!p->pins) free(p);
}

void sh_pg_prepared_unpin(sh_pg_prepared_t *p) {
    if (--p->pins == 0 && p->state == SH_PG_PREPARED_GONE) free(p);
}

void sh_pg_prepared_drop(sh_pg_prepared_cache_t *cache, sh_pg_prepared_t *p, bool is_held) {
    if (p->state == SH_PG_PREPARED_GONE) return;
    if (is_held) {
        sh_pg_garbage_t *g = sh_alloc(sizeof *g);
        sh_list_init(&g->link);
        snprintf(g->sql, sizeof g->sql, "DEALLOCATE %s", p->name);
        sh_list_link(&cache->garbage, &g->link);
    }
    take_out(cache, p);
}

void sh_pg_prepared_forget(sh_pg_prepared_cache_t *cache) {
    sh_list_each(it, tmp, &cache->used) take_out(cache, SH_CONTAINER_OF(it, sh_pg_prepared_t, link));
    sh_list_each(it, tmp, &cache->garbage) {
        sh_list_unlink(it);
        free(SH_CONTAINER_OF(it, sh_pg_garbage_t, link));
    }
}

void sh_pg_prepared_dispose(sh_pg_prepared_cache_t *cache) { sh_pg_prepared_forget(cache); }

static bool make_room(sh_pg_prepared_cache_t *cache) {
    if (cache->count < cache->max) return true;
    sh_list_each(it, tmp, &cache->used) {
        sh_pg_prepared_t *p = SH_CONTAINER_OF(it, sh_pg_prepared_t, link);
        if (p->pins) continue;
        sh_pg_prepared_drop(cache, p, p->state == SH_PG_PREPARED_READY);
        return true;
    }
    return false;
}

/* Of the length and eight samples: texts are long, few, and compared in full anyway. */
static uint32_t bucket_of(sh_str_t sql) {
    uint64_t hash = sql.len, word;
    if (sql.len < sizeof word) return (uint32_t)sh_str_hash(sql) % SH_PG_BUCKETS;
    for (size_t i = 0; i < 8; i++) {
        memcpy(&word, sql.ptr + (sql.len - sizeof word) * i / 7, sizeof word);
        hash = (hash ^ word) * 0x9e3779b97f4a7c15;
        hash ^= hash >> 29;
    }
    return (uint32_t)(hash >> 32) % SH_PG_BUCKETS;
}

static sh_pg_prepared_t *find_text(sh_pg_prepared_cache_t *cache, sh_str_t sql) {
    uint32_t bucket = bucket_of(sql);
    sh_pg_prepared_t *p = cache->by_text[bucket];
    while (p && (p->len != sql.len || memcmp(p->sql, sql.ptr, sql.len) != 0)) p = p->next;
    if (p) return p;
    if (!make_room(cache)) return NULL;
    p = sh_calloc(1, sizeof *p + sql.len + 1);
    memcpy(p->sql, sql.ptr, sql.len);
    p->len = sql.len;
    p->kind = sh_pg_sql_kind(sql);
    snprintf(p->name, sizeof p->name, "s%" PRIu64, ++cache->serial);
    sh_list_init(&p->link);
    sh_list_link(&cache->used, &p->link);
    p->bucket = bucket;
    p->next = cache->by_text[bucket];
    cache->by_text[bucket] = p;
    cache->count++;
    return p;
}

sh_pg_prepared_t *sh_pg_prepared_find(sh_pg_prepared_cache_t *cache, sh_str_t sql) {
    size_t place = ((uintptr_t)sql.ptr >> 3 ^ sql.len) % SH_PG_PLACES;
    sh_pg_prepared_t *p = cache->by_address[place].prepared;
    /* the address may have become another text's since */
    if (!p || cache->by_address[place].ptr != sql.ptr || p->len != sql.len || memcmp(p->sql, sql.ptr, sql.len) != 0) {
        p = find_text(cache, sql);
        if (!p) return NULL;
        cache->by_address[place].ptr = sql.ptr;
        cache->by_address[place].prepared = p;
    }
    if (cache->used.prev != &p->link) {
        sh_list_unlink(&p->link);
        sh_list_link(&cache->used, &p->link);
    }
    return p;
}

/* ---- kinds */

static const char *skip_blank(const char *at, const char *end) {
    while (at < end) {
        if (*at == ' ' || (*at >= '\t' && *at <= '\r') || *at == ';' || *at == '(') {
            at++;
        } else if (*at == '-' && at + 1 < end && at[1] == '-') {
            while (at < end && *at != '\n') at++;
        } else if (*at == '/' && at + 1 < end && at[1] == '*') { /* these nest */
            int depth = 0;
            do {
                if (at + 1 < end && at[0] == '/' && at[1] == '*')
                    depth++, at += 2;
                else if (at + 1 < end && at[0] == '*' && at[1] == '/')
                    depth--, at += 2;
                else
                    at++;
            } while (at < end && depth);
        } else {
            break;
        }
    }
    return at;
}

sh_pg_sql_kind_t sh_pg_sql_kind(sh_str_t sql) {
    static const char *const control[] = {
        "BEGIN", "START", "COMMIT",  "END",    "ROLLBACK", "ABORT",   "SAVEPOINT", "RELEASE", "PREPARE", "EXECUTE", "DEALLOCATE",
        "SET",   "RESET", "DISCARD", "LISTEN", "UNLISTEN", "DECLARE", "FETCH",     "MOVE",    "CLOSE",   "LOAD",
    };
    const char *end = sql.ptr + sql.len, *word = skip_blank(sql.ptr, end), *after = word;
    while (after < end && ((*after | 0x20) >= 'a' && (*after | 0x20) <= 'z')) after++;
    sh_str_t first = sh_str(word, (size_t)(after - word));
    if (sh_str_eq_nocase(first, SH_STR("COPY"))) return SH_PG_SQL_COPY;
    for (size_t i = 0; i < SH_ARRAY_LEN(control); i++)
        if (sh_str_eq_nocase(first, sh_str_of(control[i]))) return SH_PG_SQL_CONTROL;
    return SH_PG_SQL_PLAIN;
}
