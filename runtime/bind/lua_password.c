/* hash(password) -> text | nil, reason; verify(password, hash) -> boolean | nil, reason; both wait in a bounded line. */
#include "bind/lua_password.h"

#include "base/err.h"
#include "base/str.h"
#include "host/task.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

typedef struct sh_lua_password_job {
    uv_work_t work;
    sh_lua_password_t *owner;
    struct sh_lua_password_job *next; /* in the line */
    sh_task_t *task;                  /* NULL once the task went away */
    bool is_verify;
    int status;
    size_t password_len;
    char password[SH_PASSWORD_BYTES_MAX];
    char hash[SH_PASSWORD_HASH_MAX];
} job_t;

static void run(uv_work_t *work) {
    job_t *j = SH_CONTAINER_OF(work, job_t, work);
    sh_str_t password = sh_str(j->password, j->password_len);
    j->status =
        j->is_verify ? sh_password_verify(&j->owner->params, password, sh_str_of(j->hash)) : sh_password_hash(&j->owner->params, password, j->hash);
}

static int push_outcome(lua_State *L, void *data) {
    const job_t *j = data;
    if (j->status && !(j->is_verify && j->status == SH_EDENIED)) {
        lua_pushnil(L);
        lua_pushstring(L, sh_err_text(j->status));
        return 2;
    }
    if (j->is_verify)
        lua_pushboolean(L, j->status == SH_OK);
    else
        lua_pushstring(L, j->hash);
    return 1;
}

static void start_waiting(sh_lua_password_t *owner);

static void job_free(job_t *j) {
    explicit_bzero(j, sizeof *j);
    free(j);
}

static void run_done(uv_work_t *work, int uv_status) {
    job_t *j = SH_CONTAINER_OF(work, job_t, work);
    j->owner->running--;
    start_waiting(j->owner);
    if (uv_status) j->status = SH_ECANCELED;
    if (j->task) sh_task_resume_push(j->task, push_outcome, j);
    job_free(j);
}

static void job_start(job_t *j) {
    j->owner->running++;
    int rc = uv_queue_work(j->owner->loop, &j->work, run, run_done);
    SH_ASSERT(rc == 0);
}

static void start_waiting(sh_lua_password_t *owner) {
    while (owner->first && owner->running < owner->running_max) {
        job_t *j = owner->first;
        owner->first = j->next;
        if (!owner->first) owner->last = NULL;
        owner->waiting--;
        if (j->task)
            job_start(j);
        else
            job_free(j); /* its task went away meanwhile */
    }
}

static void job_wait(job_t *j) {
    sh_lua_password_t *owner = j->owner;
    if (owner->last)
        owner->last->next = j;
    else
        owner->first = j;
    owner->last = j;
    owner->waiting++;
}

static void forget(void *data) { ((job_t *)data)->task = NULL; }

/* As the database does when too many wait: the caller is told 503 unless the rule catches it. */
static int raise_limit(lua_State *L) {
    lua_createtable(L, 0, 2);
    lua_pushliteral(L, "limit");
    lua_setfield(L, -2, "kind");
    lua_pushliteral(L, "too many passwords are waiting to be hashed");
    lua_setfield(L, -2, "message");
    return lua_error(L);
}

static int start(lua_State *L, bool is_verify) {
    sh_lua_password_t *owner = lua_touserdata(L, lua_upvalueindex(1));
    size_t n, hash_len = 0;
    sh_task_t *task = sh_task_current(L);
    const char *password = luaL_checklstring(L, 1, &n);
    const char *hash = is_verify ? luaL_optlstring(L, 2, "", &hash_len) : "";
    bool is_busy = owner->running >= owner->running_max,
         is_full = owner->waiting >= (owner->waiting_max ? owner->waiting_max : SH_PASSWORD_WAITING_MAX);
    if (n > SH_PASSWORD_BYTES_MAX || hash_len >= SH_PASSWORD_HASH_MAX) {
        lua_pushnil(L);
        lua_pushliteral(L, "too long");
        return 2;
    }
    if (is_busy && is_full) return raise_limit(L); /* never nil: a rule would take it for a wrong password */
    job_t *j = sh_calloc(1, sizeof *j);
    j->owner = owner;
    j->task = task;
    j->is_verify = is_verify;
    j->password_len = n;
    memcpy(j->password, password, n);
    memcpy(j->hash, hash, hash_len);
    if (is_busy)
        job_wait(j);
    else
        job_start(j);
    return sh_task_park(L, forget, j);
}

static int password_hash(lua_State *L) { return start(L, false); }
static int password_verify(lua_State *L) { return start(L, true); }

int sh_lua_password_open(lua_State *L, void *data) {
    static const luaL_Reg functions[] = {{"hash", password_hash}, {"verify", password_verify}, {NULL, NULL}};
    lua_newtable(L);
    lua_pushlightuserdata(L, data);
    luaL_setfuncs(L, functions, 1);
    return 1;
}
