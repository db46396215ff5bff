/* Hands letters from other threads to the loop: a mutex around a list, and a uv_async_t that wakes the loop. */
#include "loop/mailbox.h"

#include "base/err.h"

static void receive(sh_mailbox_t *mailbox) {
    sh_list_t letters;
    sh_list_init(&letters);
    uv_mutex_lock(&mailbox->mutex);
    if (!sh_list_is_empty(&mailbox->letters)) {
        /* The whole chain moves in four writes, so that the lock is held no longer for many letters than for one. */
        letters = mailbox->letters;
        letters.next->prev = &letters;
        letters.prev->next = &letters;
        sh_list_init(&mailbox->letters);
    }
    uv_mutex_unlock(&mailbox->mutex);
    if (sh_list_is_empty(&letters)) return;
    mailbox->fn(mailbox->data, &letters);
    SH_ASSERT(sh_list_is_empty(&letters));
}

static void on_async(uv_async_t *async) { receive(SH_CONTAINER_OF(async, sh_mailbox_t, async)); }

int sh_mailbox_open(sh_mailbox_t *mailbox, uv_loop_t *loop, sh_mailbox_fn fn, void *data) {
    *mailbox = (sh_mailbox_t){.fn = fn, .data = data};
    sh_list_init(&mailbox->letters);
    if (uv_mutex_init(&mailbox->mutex) != 0) return SH_EIO;
    if (uv_async_init(loop, &mailbox->async, on_async) != 0) goto fail_async;
    return 0;

fail_async:
    uv_mutex_destroy(&mailbox->mutex);
    return SH_EIO;
}

void sh_mailbox_post(sh_mailbox_t *mailbox, sh_list_t *letter) {
    uv_mutex_lock(&mailbox->mutex);
    /* Who finds letters there knows that the loop is being woken already. */
    bool wake = sh_list_is_empty(&mailbox->letters);
    sh_list_link(&mailbox->letters, letter);
    /* Inside the lock: after it the loop may have received the letter that tells it to close this mailbox. */
    if (wake) uv_async_send(&mailbox->async);
    uv_mutex_unlock(&mailbox->mutex);
}

static void on_closed(uv_handle_t *handle) {
    sh_mailbox_t *mailbox = SH_CONTAINER_OF((uv_async_t *)handle, sh_mailbox_t, async);
    receive(mailbox);
    uv_mutex_destroy(&mailbox->mutex);
    if (mailbox->close_fn) mailbox->close_fn(mailbox->close_data);
}

void sh_mailbox_close(sh_mailbox_t *mailbox, void (*close_fn)(void *data), void *data) {
    SH_ASSERT(!uv_is_closing((uv_handle_t *)&mailbox->async));
    mailbox->close_fn = close_fn;
    mailbox->close_data = data;
    uv_close((uv_handle_t *)&mailbox->async, on_closed);
}
