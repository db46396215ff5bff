/* GET /openapi.json: OpenAPI 3.1 from the routes and schemas of a generation. */
#ifndef SH_OPENAPI_H
#define SH_OPENAPI_H

#include "base/buf.h"
#include "host/generation.h"

void sh_openapi_write(const sh_generation_t *generation, sh_buf_t *out);

#endif
