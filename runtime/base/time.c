/* Civil time by arithmetic (proleptic Gregorian calendar), so that no lock and no time zone file is touched. */
#include "base/time.h"

#include "base/err.h"

#include <time.h>

static uint64_t clock_ns(clockid_t id) {
    struct timespec ts;
    clock_gettime(id, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t sh_time_mono_ns(void) { return clock_ns(CLOCK_MONOTONIC); }
uint64_t sh_time_thread_cpu_ns(void) { return clock_ns(CLOCK_THREAD_CPUTIME_ID); }
int64_t sh_time_wall_us(void) { return (int64_t)(clock_ns(CLOCK_REALTIME) / 1000); }

/* Days since 1970-01-01 and back: years are counted from March, so that the leap day comes last. */
static int64_t days_from_civil(int64_t y, unsigned m, unsigned d) {
    y -= m <= 2;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    unsigned yoe = (unsigned)(y - era * 400);
    unsigned doy = (153 * (m + (m > 2 ? -3u : 9u)) + 2) / 5 + d - 1;
    unsigned doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    return era * 146097 + (int64_t)doe - 719468;
}

static void civil_from_days(int64_t days, int *year, unsigned *month, unsigned *day) {
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    unsigned doe = (unsigned)(days - era * 146097);
    unsigned yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    unsigned doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    unsigned mp = (5 * doy + 2) / 153;
    *day = doy - (153 * mp + 2) / 5 + 1;
    *month = mp < 10 ? mp + 3 : mp - 9;
    *year = (int)(yoe + era * 400 + (*month <= 2));
}

static void put_digits(char *out, unsigned value, int width) {
    while (width--) out[width] = (char)('0' + value % 10), value /= 10;
}

void sh_time_format(int64_t wall_us, char out[SH_RFC3339_LEN]) {
    int64_t seconds = wall_us / 1000000, us = wall_us % 1000000;
    if (us < 0) us += 1000000, seconds--;
    int64_t days = seconds / 86400, rest = seconds % 86400;
    if (rest < 0) rest += 86400, days--;
    int year;
    unsigned month, day;
    civil_from_days(days, &year, &month, &day);
    memcpy(out, "0000-00-00T00:00:00.000000Z", SH_RFC3339_LEN);
    put_digits(out, (unsigned)year, 4);
    put_digits(out + 5, month, 2);
    put_digits(out + 8, day, 2);
    put_digits(out + 11, (unsigned)(rest / 3600), 2);
    put_digits(out + 14, (unsigned)(rest / 60 % 60), 2);
    put_digits(out + 17, (unsigned)(rest % 60), 2);
    put_digits(out + 20, (unsigned)us, 6);
}

static bool take_digits(const char *p, int width, unsigned *out) {
    unsigned n = 0;
    for (int i = 0; i < width; i++) {
        unsigned d = (unsigned char)p[i] - '0';
        if (d > 9) return false;
        n = n * 10 + d;
    }
    *out = n;
    return true;
}

static bool take_date(const char *p, unsigned *y, unsigned *m, unsigned *d) {
    static const unsigned char lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (!take_digits(p, 4, y) || p[4] != '-' || !take_digits(p + 5, 2, m) || p[7] != '-' || !take_digits(p + 8, 2, d)) return false;
    if (*m < 1 || *m > 12 || *d < 1) return false;
    bool leap = (*y % 4 == 0 && *y % 100 != 0) || *y % 400 == 0;
    return *d <= lengths[*m - 1] + (unsigned)(*m == 2 && leap);
}

bool sh_time_is_date(sh_str_t text) {
    unsigned y, m, d;
    return text.len == 10 && take_date(text.ptr, &y, &m, &d);
}

int sh_time_parse(sh_str_t text, int64_t *wall_us) {
    unsigned y, mo, d, h, mi, s, oh, om;
    const char *p = text.ptr;
    if (text.len < 20 || text.len > 32 || !take_date(p, &y, &mo, &d) || (p[10] != 'T' && p[10] != 't')) return SH_EINVAL;
    if (!take_digits(p + 11, 2, &h) || p[13] != ':' || !take_digits(p + 14, 2, &mi) || p[16] != ':' || !take_digits(p + 17, 2, &s) || h > 23 ||
        mi > 59 || s > 59)
        return SH_EINVAL;
    size_t i = 19;
    unsigned us = 0, scale = 100000;
    if (p[i] == '.') {
        for (i++; i < text.len && p[i] >= '0' && p[i] <= '9'; i++) {
            if (!scale) return SH_EINVAL;
            us += (unsigned)(p[i] - '0') * scale;
            scale /= 10;
        }
        if (scale == 100000) return SH_EINVAL;
    }
    int64_t offset = 0;
    if (i + 1 == text.len && (p[i] == 'Z' || p[i] == 'z')) {
        offset = 0;
    } else if (i + 6 == text.len && (p[i] == '+' || p[i] == '-') && take_digits(p + i + 1, 2, &oh) && p[i + 3] == ':' &&
               take_digits(p + i + 4, 2, &om) && oh < 24 && om < 60) {
        offset = (int64_t)(oh * 3600 + om * 60) * (p[i] == '-' ? -1 : 1);
    } else {
        return SH_EINVAL;
    }
    int64_t seconds = days_from_civil(y, mo, d) * 86400 + h * 3600 + mi * 60 + s - offset;
    *wall_us = seconds * 1000000 + us;
    return SH_OK;
}
