/* render(description): read on the loop, rendered on the thread pool, delivered on the loop. */
#include "bind/lua_pdf.h"

#include "base/err.h"
#include "host/task.h"
#include "host/vm.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RUNNING_MAX_DEFAULT = 16 };

/* Counted on the loop: a document keeps the fonts it began with when a reload names another folder. */
struct sh_lua_pdf_fonts {
    sh_pdf_fonts_t *fonts;
    uint32_t count;
    char *folder;
};

typedef struct job {
    uv_work_t work;
    sh_lua_pdf_opts_t *owner;
    sh_lua_pdf_fonts_t *fonts;
    sh_task_t *task; /* NULL once the task went away */
    sh_arena_t arena;
    sh_pdf_doc_t doc;
    sh_buf_t out;
    sh_pdf_stats_t stats;
    int status;
    sh_pdf_error_t err;
} job_t;

static void release_fonts(sh_lua_pdf_fonts_t *fonts) {
    if (!fonts || --fonts->count) return;
    sh_pdf_fonts_destroy(fonts->fonts);
    free(fonts->folder);
    free(fonts);
}

/* The fonts of opts->font_dir are in opts->fonts after it. */
static int load_fonts(sh_lua_pdf_opts_t *opts, sh_pdf_error_t *err) {
    sh_pdf_fonts_t *read;
    if (!opts->font_dir) {
        *err = (sh_pdf_error_t){SH_EUNAVAILABLE, "documents cannot be rendered here"};
        return SH_EUNAVAILABLE;
    }
    if (opts->fonts && strcmp(opts->fonts->folder, opts->font_dir) == 0) return SH_OK;
    int rc = sh_pdf_fonts_create(opts->font_dir, &read, err);
    if (rc) return rc;
    release_fonts(opts->fonts);
    opts->fonts = sh_alloc(sizeof *opts->fonts);
    *opts->fonts = (sh_lua_pdf_fonts_t){read, 1, sh_strdup(opts->font_dir)};
    return SH_OK;
}

void sh_lua_pdf_dispose(sh_lua_pdf_opts_t *opts) {
    SH_ASSERT(opts->running == 0);
    release_fonts(opts->fonts);
    opts->fonts = NULL;
}

static void free_job(job_t *j) {
    release_fonts(j->fonts);
    sh_arena_dispose(&j->arena);
    sh_buf_dispose(&j->out);
    free(j);
}

static int push_problem(lua_State *L, int code, const char *message) {
    lua_pushnil(L);
    lua_createtable(L, 0, 2);
    lua_pushstring(L, code == SH_EINVAL ? "description" : code == SH_ELIMIT ? "limit" : "other");
    lua_setfield(L, -2, "kind");
    lua_pushstring(L, message);
    lua_setfield(L, -2, "message");
    return 2;
}

static void render(uv_work_t *work) {
    job_t *j = SH_CONTAINER_OF(work, job_t, work);
    const sh_pdf_opts_t opts = {.fonts = j->fonts->fonts};
    j->status = sh_pdf_render(&j->doc, &opts, &j->out, &j->stats, &j->err);
}

/* Runs protected on the main state: the bytes may not fit the vm's memory. */
static int deliver(lua_State *M) {
    job_t *j = lua_touserdata(M, 1);
    int n = 2;
    if (j->status) {
        push_problem(M, j->status, j->err.message);
    } else {
        lua_pushlstring(M, j->out.ptr, j->out.len);
        lua_pushinteger(M, (lua_Integer)j->stats.missing_glyphs);
    }
    lua_xmove(M, sh_task_lua(j->task), n);
    return 0;
}

static void render_done(uv_work_t *work, int uv_status) {
    job_t *j = SH_CONTAINER_OF(work, job_t, work);
    sh_task_t *task = j->task;
    int nresults = 2;
    j->owner->running--;
    if (task) {
        lua_State *M = sh_vm_lua(sh_task_vm(task));
        if (uv_status) {
            j->status = SH_ECANCELED;
            snprintf(j->err.message, sizeof j->err.message, "rendering was cancelled");
        }
        if (j->stats.missing_glyphs) {
            sh_log_warn(sh_vm_log(sh_task_vm(task)), "a document has characters that its fonts lack",
                        SH_LOG_STR("request_id", sh_task_request_id(task)), SH_LOG_I64("count", j->stats.missing_glyphs),
                        SH_LOG_I64("first_code_point", j->stats.missing_first));
        }
        if (lua_cpcall(M, deliver, j)) {
            lua_pop(M, 1);
            lua_pushnil(sh_task_lua(task)); /* nil alone: no memory for the bytes nor for a reason */
            nresults = 1;
        }
    }
    free_job(j);
    if (task) sh_task_resume(task, nresults);
}

static void forget(void *data) { ((job_t *)data)->task = NULL; }

/* Runs protected, so that the job is not lost when Lua has no memory. 1: job; 2: the description. */
static int read_protected(lua_State *L) {
    job_t *j = lua_touserdata(L, 1);
    sh_lua_pdf_brand_t brand;
    if (sh_lua_pdf_color_parse(j->owner->brand_primary, &brand.primary) || sh_lua_pdf_color_parse(j->owner->brand_secondary, &brand.secondary)) {
        j->status = SH_EUNAVAILABLE;
        j->err = (sh_pdf_error_t){SH_EUNAVAILABLE, "the settings brand.primary and brand.secondary must be colours like \"#f0c800\""};
    } else {
        j->status = sh_lua_pdf_read(L, 2, &brand, &j->arena, &j->doc, &j->err);
    }
    return 0;
}

static int pdf_render(lua_State *L) {
    sh_lua_pdf_opts_t *owner = lua_touserdata(L, lua_upvalueindex(1));
    sh_task_t *task = sh_task_current(L);
    sh_pdf_error_t err;
    uint32_t running_max = owner->running_max ? owner->running_max : RUNNING_MAX_DEFAULT;
    lua_settop(L, 1);
    if (owner->running >= running_max) return push_problem(L, SH_ELIMIT, "too many documents are being rendered");
    if (load_fonts(owner, &err)) return push_problem(L, SH_EIO, err.message);
    lua_pushcfunction(L, read_protected);
    job_t *j = sh_calloc(1, sizeof *j);
    sh_arena_init(&j->arena);
    j->owner = owner;
    j->task = task;
    j->fonts = owner->fonts;
    j->fonts->count++;
    lua_pushlightuserdata(L, j);
    lua_pushvalue(L, 1);
    if (lua_pcall(L, 2, 0, 0)) {
        free_job(j);
        return lua_error(L);
    }
    if (j->status) {
        err = j->err;
        free_job(j);
        return push_problem(L, err.code, err.message);
    }
    owner->running++;
    int rc = uv_queue_work(owner->loop, &j->work, render, render_done);
    SH_ASSERT(rc == 0);
    return sh_task_park(L, forget, j);
}

int sh_lua_pdf_open(lua_State *L, void *data) {
    static const luaL_Reg functions[] = {{"render", pdf_render}, {NULL, NULL}};
    sh_lua_pdf_opts_t *opts = data;
    sh_pdf_error_t err;
    if (opts->font_dir && load_fonts(opts, &err)) return luaL_error(L, "shama.pdf: %s", err.message);
    lua_newtable(L);
    lua_pushlightuserdata(L, data);
    luaL_setfuncs(L, functions, 1);
    return 1;
}
