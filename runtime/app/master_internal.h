/* The inside of the master, shared by master.c, reload.c and control.c only. */
#ifndef SH_MASTER_INTERNAL_H
#define SH_MASTER_INTERNAL_H

#include "app/channel.h"
#include "app/config.h"
#include "app/control.h"
#include "base/log.h"
#include "board/board.h"
#include "host/bundle.h"
#include "host/generation.h"

enum { SH_BUNDLES_KEPT_MAX = 50 };

typedef struct sh_worker_slot {
    pid_t pid; /* 0: none */
    int channel, listen_fd, admin_fd;
    bool ready, drain_sent;
    bool asked, prepared, swapped; /* in the current reload */
    uint64_t started_ns, respawn_at_ns, backoff_ms;
    uint64_t stuck_since_ns, stuck_cpu_ns;
} sh_worker_slot_t;

/* A rules version that workers run or ran. */
typedef struct sh_version {
    sh_bundle_t *bundle;
    uint32_t serial;
    int64_t since_us; /* wall time of its swap */
} sh_version_t;

typedef enum sh_reload_state { SH_RELOAD_IDLE, SH_RELOAD_CHECKING, SH_RELOAD_PREPARING, SH_RELOAD_SWAPPING } sh_reload_state_t;

typedef struct sh_reload {
    sh_reload_state_t state;
    uint32_t number; /* of reloads begun, refused ones too */
    bool again;      /* asked for while one was running */
    int rollback;    /* -1: from the disk; else how many versions back */
    pid_t check_pid;
    int channel; /* to the check process, -1 */
    uint64_t deadline_ns, started_ns, checked_ns, prepared_ns;
    sh_bundle_t *candidate;
    sh_config_t *candidate_config;
    uint32_t serial; /* of the candidate; counts up with every attempt */
    sh_buf_t warnings;
    sh_buf_t changes; /* "changed":[...] of the swap, for the report */
    bool by_guard;
    /* the last one, for status */
    bool last_ok;
    int64_t last_at_us;
    sh_buf_t last_report; /* JSON object */
} sh_reload_t;

/* Watches the new version's failures for a while after a swap. */
typedef struct sh_guard {
    uint64_t until_ns;                         /* 0: not watching */
    uint64_t before_requests, before_failures; /* of the version before, over its life */
    uint64_t requests, failures;               /* of this one under an earlier serial: a reload that changed nothing goes on watching */
    uint32_t serial;
} sh_guard_t;

typedef struct sh_master {
    pid_t pid;
    sh_config_t *config;
    sh_log_t log;
    sh_board_t *board;
    uint32_t worker_count;
    sh_worker_slot_t workers[SH_WORKERS_MAX];
    int signal_fd;
    int wake_fds[SH_SERVICES_MAX];
    bool stopping, announced;
    uint64_t stop_by_ns;
    sh_version_t current;
    sh_version_t kept[SH_BUNDLES_KEPT_MAX]; /* newest first; kept[0] is the one before current */
    uint32_t kept_count;
    sh_reload_t reload;
    sh_guard_t guard;
    sh_control_t control;
    sh_buf_t shown; /* the state as it stands on the board */
    sh_series_t *restarts, *hard_kills, *reloads_ok, *reloads_failed, *guard_rollbacks;
} sh_master_t;

uint32_t sh_master_ready_count(const sh_master_t *m);

/* reload.c */
void sh_reload_init(sh_master_t *m);
/* The first bundle, at start: waits for the check process. SH_EINVAL after the reason was printed. */
int sh_reload_first(sh_master_t *m) SH_MUSTCHECK;
/* rollback -1: reload from the disk. Coalesced when one is running; a rollback is then refused (false). */
bool sh_reload_request(sh_master_t *m, int rollback);
void sh_reload_message(sh_master_t *m, uint32_t worker, sh_message_t *msg);
void sh_reload_worker_ready(sh_master_t *m, uint32_t worker);
void sh_reload_worker_ended(sh_master_t *m, uint32_t worker);
void sh_reload_check_readable(sh_master_t *m);
void sh_reload_check_ended(sh_master_t *m, int status);
void sh_reload_abort(sh_master_t *m, const char *reason);
void sh_reload_tick(sh_master_t *m);

#endif
