/* English sentences for the error codes. */
#include "base/err.h"

const char *sh_err_text(int code) {
    switch (code) {
    case SH_OK: return "ok";
    case SH_EINVAL: return "invalid input";
    case SH_ELIMIT: return "limit reached";
    case SH_ETIMEDOUT: return "timed out";
    case SH_ECANCELED: return "canceled";
    case SH_ECLOSED: return "closed";
    case SH_EUNAVAILABLE: return "unavailable";
    case SH_EMAYBE: return "connection lost, may have been done";
    case SH_EDB: return "database error";
    case SH_ENOTFOUND: return "not found";
    case SH_EDENIED: return "denied";
    case SH_EEXPIRED: return "expired";
    case SH_EIO: return "system error";
    case SH_ELUA: return "rule raised an error";
    case SH_EBUDGET: return "budget exceeded";
    case SH_EMEMORY: return "memory cap reached";
    default: return "unknown error";
    }
}
