/* The mapping and its small writers. */
#include "board/board.h"

#include "base/err.h"

#include <stdio.h>
#include <sys/mman.h>

enum { QUARANTINE_AT = 2, READ_TRIES = 1000 };

static size_t board_size(void) { return (sizeof(sh_board_t) + 63) & ~(size_t)63; }

int sh_board_create(sh_board_t **out) {
    size_t size = board_size() + sh_metrics_size();
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return SH_EIO;
    sh_board_t *board = memory;
    board->metrics = sh_metrics_init((char *)memory + board_size());
    *out = board;
    return SH_OK;
}

void sh_board_destroy(sh_board_t *board) { munmap(board, board_size() + sh_metrics_size()); }

static void copy_text(char *to, size_t size, const char *from, size_t len) {
    if (len >= size) len = size - 1;
    memcpy(to, from, len);
    to[len] = 0;
}

void sh_slot_enter(sh_slot_t *slot, uint32_t kind, const char *service, const char *name, sh_str_t request_id, uint64_t now_ns) {
    if (!slot) return;
    slot->kind = kind;
    copy_text(slot->service, sizeof slot->service, service, strlen(service));
    copy_text(slot->name, sizeof slot->name, name, strlen(name));
    copy_text(slot->request_id, sizeof slot->request_id, request_id.ptr ? request_id.ptr : "", request_id.len);
    atomic_store_explicit(&slot->busy_since_ns, now_ns, memory_order_release);
}

sh_outcome_t *sh_board_outcome(sh_board_t *board, uint32_t generation) {
    sh_outcome_t *o = &board->outcomes[generation % SH_OUTCOMES];
    uint32_t before = atomic_load(&o->generation);
    if (before != generation && atomic_compare_exchange_strong(&o->generation, &before, generation)) {
        atomic_store(&o->requests, 0);
        atomic_store(&o->failures, 0);
    }
    return o;
}

uint32_t sh_board_quarantine_add(sh_board_t *board, const char *name) {
    for (int i = 0; i < SH_QUARANTINE_MAX; i++) {
        sh_quarantine_t *q = &board->quarantine[i];
        if (atomic_load(&q->kills) && strncmp(q->name, name, sizeof q->name - 1) != 0) continue;
        if (!atomic_load(&q->kills)) snprintf(q->name, sizeof q->name, "%s", name);
        return atomic_fetch_add(&q->kills, 1) + 1;
    }
    return 0;
}

bool sh_board_is_quarantined(const sh_board_t *board, const char *name) {
    for (int i = 0; i < SH_QUARANTINE_MAX; i++) {
        const sh_quarantine_t *q = &board->quarantine[i];
        uint32_t kills = atomic_load_explicit(&((sh_quarantine_t *)q)->kills, memory_order_acquire);
        if (!kills) return false;
        if (kills >= QUARANTINE_AT && strncmp(q->name, name, sizeof q->name - 1) == 0) return true;
    }
    return false;
}

void sh_board_quarantine_clear(sh_board_t *board) {
    for (int i = 0; i < SH_QUARANTINE_MAX; i++) atomic_store(&board->quarantine[i].kills, 0);
}

bool sh_board_state_write(sh_board_t *board, sh_str_t json) {
    sh_state_note_t *note = &board->state;
    if (json.len > sizeof note->text) return false;
    atomic_fetch_add_explicit(&note->turn, 1, memory_order_acq_rel);
    atomic_thread_fence(memory_order_release);
    memcpy(note->text, json.ptr, json.len);
    note->len = (uint32_t)json.len;
    atomic_fetch_add_explicit(&note->turn, 1, memory_order_release);
    return true;
}

bool sh_board_state_read(const sh_board_t *board, sh_buf_t *out) {
    sh_state_note_t *note = &((sh_board_t *)board)->state;
    size_t before = out->len;
    for (int i = 0; i < READ_TRIES; i++) {
        uint32_t turn = atomic_load_explicit(&note->turn, memory_order_acquire), len = note->len;
        if (turn & 1 || len > sizeof note->text) continue;
        sh_buf_put(out, note->text, len);
        atomic_thread_fence(memory_order_acquire);
        if (atomic_load_explicit(&note->turn, memory_order_relaxed) == turn) return len > 0;
        out->len = before;
    }
    return false;
}
