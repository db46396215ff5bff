/* What http_conn does for a socket, for one request in memory. */
#include "net/http_local.h"

#include "base/err.h"
#include "base/time.h"
#include "net/http_request.h"

#include <stdlib.h>

struct sh_http_local {
    sh_http_request_t request;
    sh_http_parser_t parser;
    const sh_http_handlers_t *handlers;
    void *handlers_data;
    sh_http_local_fn fn; /* NULL: abandoned */
    void *data;
    bool is_seen; /* the handlers know it: on_done is owed */
    bool *gone;   /* told while sh_http_local_start() is on the stack */
};

static bool has_body(const sh_http_local_t *local, int status) { return local->request.method != SH_HTTP_HEAD && status != 204 && status != 304; }

/* The one end of every request; frees it. */
static void answer(sh_http_local_t *local, sh_http_response_t *response) {
    if (!has_body(local, response->status)) sh_buf_clear(&response->body);
    if (local->fn) local->fn(local->data, response);
    if (local->is_seen && local->handlers->on_done)
        local->handlers->on_done(local->handlers_data, &local->request, response->status, response->body.len);
    sh_buf_dispose(&response->body);
    sh_http_parser_dispose(&local->parser);
    sh_arena_dispose(&local->request.arena);
    if (local->gone) *local->gone = true;
    free(local);
}

static void respond(sh_http_request_t *request, sh_http_response_t *response) {
    answer(SH_CONTAINER_OF(request, sh_http_local_t, request), response);
}

static void refuse(sh_http_local_t *local, int status, const char *reason) {
    sh_http_response_t response = {.status = status};
    local->is_seen = true;
    local->handlers->on_bad(local->handlers_data, &local->request, status, reason, &response);
    answer(local, &response);
}

static void run(sh_http_local_t *local, sh_str_t bytes) {
    sh_http_parser_t *parser = &local->parser;
    int refused = 0;
    size_t at = 0, used;
    for (;;) {
        sh_http_event_t event = sh_http_parser_feed(parser, bytes.ptr + at, bytes.len - at, &used);
        at += used;
        if (event == SH_HTTP_EVENT_BAD) {
            refuse(local, parser->bad_status, parser->bad_reason);
            return;
        }
        if (event == SH_HTTP_EVENT_DONE) break;
        if (event == SH_HTTP_EVENT_MORE) {
            refuse(local, 400, "the request is not whole");
            return;
        }
        local->is_seen = true;
        if (local->handlers->on_head) refused = local->handlers->on_head(local->handlers_data, &local->request, &parser->body_bytes_max);
        parser->discards = refused != 0;
    }
    if (!refused && at < bytes.len) refused = 400;
    if (refused)
        refuse(local, refused, sh_http_reason(refused));
    else
        local->handlers->on_request(local->handlers_data, &local->request);
}

sh_http_local_t *sh_http_local_start(const sh_http_opts_t *opts, const sh_http_handlers_t *handlers, void *handlers_data, sh_str_t bytes,
                                     sh_http_local_fn fn, void *data) {
    sh_http_local_t *local = sh_calloc(1, sizeof *local);
    bool gone = false;
    local->handlers = handlers;
    local->handlers_data = handlers_data;
    local->fn = fn;
    local->data = data;
    local->gone = &gone;
    local->request.method = SH_HTTP_METHOD_OTHER;
    local->request.respond = respond;
    local->request.started_ns = sh_time_mono_ns();
    sh_arena_init(&local->request.arena);
    sh_list_init(&local->request.link);
    sh_http_parser_init(&local->parser, &local->request, opts);
    run(local, bytes);
    if (gone) return NULL;
    local->gone = NULL;
    return local;
}

void sh_http_local_abandon(sh_http_local_t *local) {
    local->fn = NULL;
    local->request.client_gone = true;
    if (local->request.on_gone) local->request.on_gone(&local->request); /* may answer, and free it */
}
