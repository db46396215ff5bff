/* Serving and asking over the Unix socket. Only the same user and root are answered (SO_PEERCRED). */
#include "app/control.h"

#include "app/master_internal.h"
#include "base/err.h"
#include "base/time.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

void sh_control_path(const sh_config_t *config, char path[108]) {
    const char *given = sh_config_str(config, "control");
    if (*given) {
        snprintf(path, 108, "%s", given);
        return;
    }
    const char *folder = getenv("XDG_RUNTIME_DIR");
    if (!folder || !*folder) folder = getuid() == 0 ? "/run" : "/tmp";
    snprintf(path, 108, "%s/shama-%u-%lld.sock", folder, (unsigned)getuid(), (long long)sh_config_int(config, "http.port"));
}

int sh_control_open(sh_control_t *c, sh_master_t *m) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    sh_control_path(m->config, c->path);
    memcpy(address.sun_path, c->path, sizeof address.sun_path);
    c->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    unlink(c->path); /* the port is ours, so whoever left it is gone */
    mode_t mask = umask(0077);
    int rc = c->listen_fd < 0 || bind(c->listen_fd, (struct sockaddr *)&address, sizeof address) || listen(c->listen_fd, 8);
    umask(mask);
    if (rc) {
        sh_log_error(&m->log, "cannot open the control socket", SH_LOG_C("path", c->path), SH_LOG_C("error", strerror(errno)));
        fprintf(stderr, "shama: cannot open the control socket %s: %s (set SHAMA_CONTROL to another path)\n", c->path, strerror(errno));
        return SH_EIO;
    }
    return SH_OK;
}

static void drop(sh_control_client_t *client) {
    close(client->fd);
    *client = (sh_control_client_t){0};
}

void sh_control_close_in_child(sh_control_t *c) {
    if (c->listen_fd >= 0) close(c->listen_fd);
    c->listen_fd = -1;
    for (int i = 0; i < SH_CONTROL_CLIENTS; i++)
        if (c->clients[i].fd) drop(&c->clients[i]);
}

void sh_control_close(sh_control_t *c) {
    if (c->listen_fd >= 0) unlink(c->path);
    sh_control_close_in_child(c);
}

uint32_t sh_control_poll_fds(sh_control_t *c, struct pollfd *fds) {
    uint32_t n = 0;
    fds[n++] = (struct pollfd){c->listen_fd, POLLIN, 0};
    for (int i = 0; i < SH_CONTROL_CLIENTS; i++)
        if (c->clients[i].fd) fds[n++] = (struct pollfd){c->clients[i].fd, POLLIN, 0};
    return n;
}

static void put_version(sh_buf_t *out, const sh_version_t *v) {
    char at[SH_RFC3339_LEN];
    sh_time_format(v->since_us, at);
    sh_buf_printf(out, "{\"version\":\"%s\",\"since\":\"%.*s\",\"files\":%zu}", sh_bundle_version(v->bundle), SH_RFC3339_LEN, at,
                  sh_bundle_count(v->bundle));
}

void sh_control_status(const sh_master_t *m, sh_buf_t *out) {
    static const char *const states[] = {"idle", "checking", "preparing", "swapping"};
    sh_buf_printf(out, "{\"pid\":%d,\"rules\":", (int)m->pid);
    put_version(out, &m->current);
    sh_buf_printf(out, ",\"reload\":{\"state\":\"%s\",\"last\":", states[m->reload.state]);
    if (m->reload.last_report.len)
        sh_buf_put_str(out, sh_buf_str(&m->reload.last_report));
    else
        sh_buf_put_lit(out, "null");
    sh_buf_put_lit(out, "},\"workers\":[");
    for (uint32_t i = 0; i < m->worker_count; i++) {
        sh_slot_t *slot = &m->board->slots[i];
        sh_buf_printf(out, "%s{\"index\":%u,\"pid\":%d,\"ready\":%s,\"generation\":%u,\"generations\":%u,\"draining_tasks\":%u}", i ? "," : "", i,
                      (int)m->workers[i].pid, m->workers[i].ready ? "true" : "false", atomic_load(&slot->generation), atomic_load(&slot->generations),
                      atomic_load(&slot->tasks));
    }
    sh_buf_put_lit(out, "],\"kept\":[");
    for (uint32_t i = 0; i < m->kept_count; i++) {
        if (i) sh_buf_put_byte(out, ',');
        put_version(out, &m->kept[i]);
    }
    sh_buf_put_lit(out, "]}");
}

static void answer(sh_control_client_t *client, sh_str_t text) {
    size_t at = 0;
    while (at < text.len) { /* small, and the other side only waits for it */
        ssize_t n = send(client->fd, text.ptr + at, text.len - at, MSG_NOSIGNAL);
        if (n > 0)
            at += (size_t)n;
        else if (n < 0 && errno == EAGAIN) {
            struct pollfd fd = {client->fd, POLLOUT, 0};
            if (poll(&fd, 1, 1000) != 1) break;
        } else
            break;
    }
    drop(client);
}

static void answer_refusal(sh_control_client_t *client, const char *error) {
    sh_buf_t out = {0};
    sh_buf_put_lit(&out, "{\"ok\":false,\"error\":");
    sh_buf_put_json(&out, sh_str_of(error));
    sh_buf_put_byte(&out, '}');
    answer(client, sh_buf_str(&out));
    sh_buf_dispose(&out);
}

static void run_line(sh_control_client_t *client, sh_master_t *m) {
    int back = 1;
    if (strcmp(client->line, "status") == 0) {
        sh_buf_t out = {0};
        sh_control_status(m, &out);
        answer(client, sh_buf_str(&out));
        sh_buf_dispose(&out);
    } else if (strcmp(client->line, "reload") == 0) {
        /* One that runs may have read the files before the last one was saved: then it is the next one that counts. */
        client->waiting = true;
        client->reload = m->reload.number + 1;
        if (!sh_reload_request(m, -1)) answer_refusal(client, "the server is stopping");
    } else if (sscanf(client->line, "rollback %d", &back) == 1 || strcmp(client->line, "rollback") == 0) {
        client->waiting = true;
        client->reload = m->reload.number + 1;
        if (back < 1 || back > (int)m->kept_count || !sh_reload_request(m, back))
            answer_refusal(client, m->kept_count == 0                      ? "there is no older rules version in memory"
                                   : back < 1 || back > (int)m->kept_count ? "there are not so many older versions: see `shama status`"
                                                                           : "a reload is running: try again when it has ended");
    } else {
        answer_refusal(client, "unknown command: reload, rollback N or status");
    }
}

static bool is_trusted(int fd) {
    struct ucred peer;
    socklen_t n = sizeof peer;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) == 0 && (peer.uid == 0 || peer.uid == getuid());
}

void sh_control_turn(sh_control_t *c, sh_master_t *m) {
    int fd;
    while (c->listen_fd >= 0 && (fd = accept4(c->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
        int place = 0;
        while (place < SH_CONTROL_CLIENTS && c->clients[place].fd) place++;
        sh_control_client_t late = {.fd = fd};
        if (!is_trusted(fd))
            close(fd);
        else if (place == SH_CONTROL_CLIENTS)
            answer_refusal(&late, "too many wait for the server: try again");
        else
            c->clients[place] = late;
    }
    for (int i = 0; i < SH_CONTROL_CLIENTS; i++) {
        sh_control_client_t *client = &c->clients[i];
        if (!client->fd) continue;
        ssize_t n = recv(client->fd, client->line + client->len, sizeof client->line - 1 - client->len, 0);
        if (n == 0 || (n < 0 && errno != EAGAIN)) {
            drop(client);
            continue;
        }
        if (n < 0 || client->waiting) continue;
        client->len += (uint32_t)n;
        client->line[client->len] = 0;
        char *end = strchr(client->line, '\n');
        if (end) {
            *end = 0;
            run_line(client, m);
        } else if (client->len == sizeof client->line - 1) {
            drop(client);
        }
    }
}

void sh_control_reload_done(sh_control_t *c, sh_master_t *m) {
    for (int i = 0; i < SH_CONTROL_CLIENTS; i++)
        if (c->clients[i].fd && c->clients[i].waiting && (c->clients[i].reload <= m->reload.number || m->stopping))
            answer(&c->clients[i], sh_buf_str(&m->reload.last_report));
}

int sh_control_ask(const sh_config_t *config, const char *line, sh_buf_t *out) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char chunk[4096];
    ssize_t n;
    sh_control_path(config, address.sun_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address)) {
        if (fd >= 0) close(fd);
        return SH_EUNAVAILABLE;
    }
    if (send(fd, line, strlen(line), MSG_NOSIGNAL) < 0 || send(fd, "\n", 1, MSG_NOSIGNAL) < 0) {
        close(fd);
        return SH_EUNAVAILABLE;
    }
    while ((n = read(fd, chunk, sizeof chunk)) > 0) sh_buf_put(out, chunk, (size_t)n);
    close(fd);
    return out->len ? SH_OK : SH_EUNAVAILABLE;
}
