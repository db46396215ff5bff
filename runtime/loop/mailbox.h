/* A mailbox: the one meeting place of other threads and the loop. Threads post letters, the loop receives all that came since its last turn.
 *
 * A letter is a sh_list_t embedded in whatever is handed over; posting gives it away, and nothing is allocated or copied.
 * Letters of one thread arrive in the order posted. Many letters cost one wake-up of the loop.
 *
 *     thread:  sh_mailbox_post(&box, &thing->letter);
 *     loop:    fn(data, letters): unlinks every letter and owns it from then on */
#ifndef SH_MAILBOX_H
#define SH_MAILBOX_H

#include "base/list.h"

#include <uv.h>

/* Runs on the loop with at least one letter linked to `letters`; all of them must be unlinked when it returns. */
typedef void (*sh_mailbox_fn)(void *data, sh_list_t *letters);

typedef struct sh_mailbox {
    uv_async_t async;
    uv_mutex_t mutex;
    sh_list_t letters; /* guarded by mutex */
    sh_mailbox_fn fn;
    void *data;
    void (*close_fn)(void *data);
    void *close_data;
} sh_mailbox_t;

/* On the loop's thread. The mailbox is embedded in its owner and must not move. SH_EIO when the system refuses. */
int sh_mailbox_open(sh_mailbox_t *mailbox, uv_loop_t *loop, sh_mailbox_fn fn, void *data) SH_MUSTCHECK;

/* From any thread, between open and close. The letter must be unlinked (sh_list_init); it belongs to the receiver after the call. */
void sh_mailbox_post(sh_mailbox_t *mailbox, sh_list_t *letter);

/* On the loop's thread, when no thread posts any more. Letters that are still there are delivered first, then `close_fn` runs and the memory
 * is the owner's again; neither happens inside this call. */
void sh_mailbox_close(sh_mailbox_t *mailbox, void (*close_fn)(void *data), void *data);

#endif
