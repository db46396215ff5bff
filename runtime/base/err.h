/* What can go wrong: one list of negative codes, shared by all floors. */
#ifndef SH_ERR_H
#define SH_ERR_H

/* 0 is success. Codes are stable within a build only; they never leave the process. */
enum sh_err {
    SH_OK = 0,
    SH_EINVAL = -1,       /* bad input: the caller says where */
    SH_ELIMIT = -2,       /* a named limit was reached */
    SH_ETIMEDOUT = -3,    /* a deadline passed */
    SH_ECANCELED = -4,    /* the one who asked went away */
    SH_ECLOSED = -5,      /* the peer or our own side is closed */
    SH_EUNAVAILABLE = -6, /* a dependency is down; nothing was done */
    SH_EMAYBE = -7,       /* the connection was lost after sending: it may have been done */
    SH_EDB = -8,          /* the database refused: see sh_pg_error_t */
    SH_ENOTFOUND = -9,
    SH_EDENIED = -10,
    SH_EEXPIRED = -11,
    SH_EIO = -12,     /* the system refused: errno was logged */
    SH_ELUA = -13,    /* a rule raised */
    SH_EBUDGET = -14, /* a rule used more than its budget */
    SH_EMEMORY = -15, /* a service reached its memory cap */
};

/* A short English sentence for logs. Never NULL. */
const char *sh_err_text(int code);

#endif
