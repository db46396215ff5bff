/* The text of HTTP: percent escapes, tokens, host names, reason phrases. No state, no I/O. */
#ifndef SH_HTTP_TEXT_H
#define SH_HTTP_TEXT_H

#include "base/arena.h"

/* RFC 9110, 5.6.2. An empty slice is no token. */
bool sh_http_is_token(sh_str_t text);
/* uri-host [":" port], not empty, no userinfo (RFC 9110, 7.2). */
bool sh_http_is_host(sh_str_t text);

/* Decodes a path once. SH_EINVAL for a bad escape, a control character (so also %00), an escaped slash or backslash,
 * invalid UTF-8, and dot segments in any spelling; *reason then is a short sentence.
 * A path without escapes is not copied: `out` is `raw`. */
int sh_http_path_decode(sh_arena_t *arena, sh_str_t raw, sh_str_t *out, const char **reason) SH_MUSTCHECK;

#endif
