/* A doubly linked list whose links are embedded in their owners; no allocation. */
#ifndef SH_LIST_H
#define SH_LIST_H

#include "base/base.h"

typedef struct sh_list {
    struct sh_list *next, *prev; /* a head points to itself when empty; an unlinked node too */
} sh_list_t;

static inline void sh_list_init(sh_list_t *l) { l->next = l->prev = l; }
static inline bool sh_list_is_empty(const sh_list_t *l) { return l->next == l; }
static inline bool sh_list_is_linked(const sh_list_t *n) { return n->next != n; }

/* Links `n` at the end of `head`. `n` must be unlinked. */
static inline void sh_list_link(sh_list_t *head, sh_list_t *n) {
    n->prev = head->prev;
    n->next = head;
    head->prev->next = n;
    head->prev = n;
}
static inline void sh_list_link_front(sh_list_t *head, sh_list_t *n) { sh_list_link(head->next, n); }

/* Unlinks `n` from whatever list it is on; harmless when it is on none. */
static inline void sh_list_unlink(sh_list_t *n) {
    n->prev->next = n->next;
    n->next->prev = n->prev;
    sh_list_init(n);
}

/* The first entry, or NULL. */
#define sh_list_first(head, type, member) (sh_list_is_empty(head) ? NULL : SH_CONTAINER_OF((head)->next, type, member))

/* Walks the list; `it` may be unlinked in the body. */
#define sh_list_each(it, tmp, head) for (sh_list_t *it = (head)->next, *tmp = it->next; it != (head); it = tmp, tmp = it->next)

#endif
