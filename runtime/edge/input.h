/* What a request brings (path parameters, query, body) against what its route wants. */
#ifndef SH_INPUT_H
#define SH_INPUT_H

#include "edge/exchange.h"

enum { SH_QUERY_PAIRS_MAX = 32 };

/* Is it application/json or application/merge-patch+json, whatever its parameters? */
bool sh_input_is_json(sh_str_t content_type);

/* Does an Accept field allow `type`, "application/json"? The most specific range decides, q=0 excludes (RFC 9110, 12.5.1). */
bool sh_input_accepts(sh_str_t accept, const char *type);

/* Checks all of it and fills in call.params, call.query and call.body in their canonical form. False: the request was answered with 400
 * or 415 and a problem that names every bad field. */
bool sh_input_check(sh_exchange_t *x) SH_MUSTCHECK;

#endif
