/* Shifts the wall clock of one process by CLOCK_SHIFT seconds: a server whose
 * clock is wrong. Built by scripts/redis-servers, without any header, and loaded
 * in front of the C library. (libfaketime and jemalloc do not get on.) */

struct timeval { long sec, usec; };
struct timespec { long sec, nsec; };

extern long syscall(long number, ...);
extern char *getenv(const char *name);
extern long strtol(const char *text, char **end, int base);

#ifdef __aarch64__
#define CLOCK_GETTIME 113
#else
#define CLOCK_GETTIME 228
#endif

static struct timespec shifted(void)
{
	struct timespec t = {0, 0};
	char *shift = getenv("CLOCK_SHIFT");

	syscall(CLOCK_GETTIME, 0L, &t);
	if (shift)
		t.sec += strtol(shift, 0, 10);
	return t;
}

int gettimeofday(struct timeval *tv, void *zone)
{
	struct timespec t = shifted();

	tv->sec = t.sec;
	tv->usec = t.nsec / 1000;
	return 0;
}

long time(long *t)
{
	long now = shifted().sec;

	if (t)
		*t = now;
	return now;
}
