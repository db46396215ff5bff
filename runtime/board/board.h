/* The board: one shared mapping made before the fork, where workers write what all may know.
 *
 * Metrics (board/metrics.h), a slot per worker that tells what it runs right now, outcomes per rules generation for the guard
 * after a reload, routes in quarantine, and the master's state as JSON. Everything is written without locks; a reader may see a slot half written and
 * then reads again. */
#ifndef SH_BOARD_H
#define SH_BOARD_H

#include "board/metrics.h"

#include <stdatomic.h>
#include <sys/types.h>

enum { SH_WORKERS_MAX = 64, SH_SLOT_NAME_MAX = 96, SH_OUTCOMES = 16, SH_QUARANTINE_MAX = 32, SH_STATE_MAX = 65536 };

/* What a worker runs. `busy_since_ns` (monotonic) is 0 while no Lua runs. */
typedef struct sh_slot {
    _Atomic pid_t pid;
    _Atomic uint32_t generation;  /* serial of its current rules */
    _Atomic uint32_t generations; /* alive: current and draining */
    _Atomic uint32_t tasks;       /* of draining generations */
    _Atomic uint64_t busy_since_ns;
    char service[32], name[SH_SLOT_NAME_MAX], request_id[64]; /* valid while busy */
    uint32_t kind;                                            /* sh_task_kind_t */
} sh_slot_t;

/* Requests and failures (5xx, budget kills) of a generation, by its serial. */
typedef struct sh_outcome {
    _Atomic uint32_t generation;
    _Atomic uint64_t requests, failures;
} sh_outcome_t;

/* Work that had to be ended with its worker; twice means no more until the next reload. */
typedef struct sh_quarantine {
    _Atomic uint32_t kills;
    char name[SH_SLOT_NAME_MAX]; /* "POST /api/v1/..." or a durable's name */
} sh_quarantine_t;

/* What the master knows (rules, workers, the last reload), written by it alone; `turn` is odd while it writes. */
typedef struct sh_state_note {
    _Atomic uint32_t turn;
    uint32_t len;
    char text[SH_STATE_MAX];
} sh_state_note_t;

typedef struct sh_board {
    sh_metrics_t *metrics;
    sh_slot_t slots[SH_WORKERS_MAX];
    sh_outcome_t outcomes[SH_OUTCOMES];
    sh_quarantine_t quarantine[SH_QUARANTINE_MAX]; /* written by the master only */
    sh_state_note_t state;
} sh_board_t;

/* Maps it; once, before the fork. SH_EIO. */
int sh_board_create(sh_board_t **out) SH_MUSTCHECK;
void sh_board_destroy(sh_board_t *board);

/* A slice of Lua begins and ends; on the worker's own slot, NULL allowed. Texts are copied and cut. */
void sh_slot_enter(sh_slot_t *slot, uint32_t kind, const char *service, const char *name, sh_str_t request_id, uint64_t now_ns);
static inline void sh_slot_leave(sh_slot_t *slot) {
    if (slot) atomic_store_explicit(&slot->busy_since_ns, 0, memory_order_release);
}

/* The outcome counters of a generation; resets them when the place belonged to an older one. */
sh_outcome_t *sh_board_outcome(sh_board_t *board, uint32_t generation);

/* Master: notes a kill; returns how many there were. Worker: may this work run? */
uint32_t sh_board_quarantine_add(sh_board_t *board, const char *name);
bool sh_board_is_quarantined(const sh_board_t *board, const char *name);
void sh_board_quarantine_clear(sh_board_t *board);

/* Master: shows a JSON object to all workers; one that is too long is not taken (false). Worker: appends the last one; false when there
 * is none, or the master died while it wrote. */
bool sh_board_state_write(sh_board_t *board, sh_str_t json);
bool sh_board_state_read(const sh_board_t *board, sh_buf_t *out);

#endif
