/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes messages to stderr, each line with one write(2) so that lines of several threads never mix.
 *
 * Any thread but a disk's. Allocates nothing and takes no lock. Knows nothing of consoles, files or
 * options. Its state is at file scope: a logger that had to be carried to every place that may complain
 * would be carried everywhere.
 */
#include "vmm/log.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOG_LINE	  1024
#define LOG_PIECE	  4096 /* PIPE_BUF: a pipe with room takes as much at once */
#define LOG_WAIT_MS	  10
#define LOG_WAITS	  10 /* for each LOG_LINE bytes */
#define LOG_GUEST_SECONDS 10

static _Atomic bool verbose_on;
static _Atomic bool all_held;
static _Atomic uint64_t held_until; /* the window in which guests are heard again */
/* CLOCK_MONOTONIC seconds when a text was not taken in time; 0: the last one was. */
static _Atomic uint64_t lost_at;

void log_set_verbose(bool on)
{
	atomic_store_explicit(&verbose_on, on, memory_order_relaxed);
}

static uint64_t seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec;
}

static uint64_t window_now(void)
{
	return seconds() / LOG_GUEST_SECONDS;
}

void log_hold_back(void)
{
	atomic_store_explicit(&all_held, true, memory_order_relaxed);
	atomic_store_explicit(&held_until, window_now() + 1, memory_order_relaxed);
}

void log_go_on(void)
{
	atomic_store_explicit(&all_held, false, memory_order_relaxed);
}

static bool is_held(void)
{
	return atomic_load_explicit(&all_held, memory_order_relaxed);
}

/*
 * Stderr should be a file that does not wait (vmm/cli/stream.h). Where it is not, POLLOUT is all
 * there is to go by, and no promise: a terminal's last place takes a letter and no end of line, and
 * another thread may be faster.
 */
static ssize_t write_some(const char *text, size_t len, int wait_ms)
{
	struct pollfd pfd = { .fd = STDERR_FILENO, .events = POLLOUT };
	ssize_t n = -1;

	errno = EAGAIN;
	if (poll(&pfd, 1, wait_ms) > 0) {
		n = write(STDERR_FILENO, text, len < LOG_PIECE ? len : LOG_PIECE);
		if (n < 0 && errno == EAGAIN)
			poll(NULL, 0, wait_ms);
	}
	return n;
}

/*
 * A reader that has stopped (a full pipe, a terminal after Ctrl-S or behind a dead connection) must stop
 * nobody: a vCPU here holds its device's lock, and main would not even hear SIGTERM. So nobody waits in
 * the second in which somebody has in vain: main may have a line for each of many disks.
 */
void log_raw(const char *text, size_t len)
{
	const uint64_t lost = atomic_load_explicit(&lost_at, memory_order_relaxed);
	const bool patient = !lost || lost != seconds();
	size_t tries = patient ? LOG_WAITS * (1 + len / LOG_LINE) : 1;

	while (len && tries) {
		ssize_t n = write_some(text, len, patient ? LOG_WAIT_MS : 0);

		if (n > 0) {
			text += n;
			len -= n;
		} else if (n == 0 || (errno != EINTR && errno != EAGAIN)) {
			return; /* nobody is left to be told when stderr itself fails */
		} else {
			tries--;
		}
	}
	atomic_store_explicit(&lost_at, len ? seconds() : 0, memory_order_relaxed);
}

static size_t clamp(int n, size_t room)
{
	if (n < 0)
		return 0;
	return (size_t)n < room ? (size_t)n : room - 1;
}

static void write_line(const char *kind, const char *suffix, const char *fmt, va_list ap)
{
	char line[LOG_LINE];
	const size_t tail = strlen(suffix) + 1;
	size_t n;

	n = clamp(snprintf(line, sizeof(line) - tail, "mvmm: %s", kind), sizeof(line) - tail);
	n += clamp(vsnprintf(line + n, sizeof(line) - tail - n, fmt, ap), sizeof(line) - tail - n);
	memcpy(line + n, suffix, tail - 1);
	n += tail - 1;
	line[n++] = '\n';
	log_raw(line, n);
}

#define WRITE_LINE(kind, suffix, fmt)                                                              \
	do {                                                                                       \
		va_list ap;                                                                        \
		va_start(ap, fmt);                                                                 \
		write_line(kind, suffix, fmt, ap);                                                 \
		va_end(ap);                                                                        \
	} while (0)

void log_error(const char *fmt, ...)
{
	WRITE_LINE("error: ", "", fmt);
}

void log_warn(const char *fmt, ...)
{
	if (!is_held())
		WRITE_LINE("warning: ", "", fmt);
}

void log_info(const char *fmt, ...)
{
	if (!is_held())
		WRITE_LINE("", "", fmt);
}

void log_verbose(const char *fmt, ...)
{
	if (atomic_load_explicit(&verbose_on, memory_order_relaxed) && !is_held())
		WRITE_LINE("", "", fmt);
}

unsigned log_limit_take(struct log_limit *limit, uint64_t window)
{
	uint64_t seen = atomic_load_explicit(&limit->window, memory_order_relaxed);
	unsigned line;

	/*
	 * Whoever moves the window on also refills the budget. A thread that took a line between
	 * the two steps costs the new window that line's count, never a flood: relaxed is enough.
	 */
	if (seen < window &&
	    atomic_compare_exchange_strong_explicit(&limit->window, &seen, window,
						    memory_order_relaxed, memory_order_relaxed))
		atomic_store_explicit(&limit->lines, 0, memory_order_relaxed);
	/* The counter stops at the budget, so that it can never wrap into a new one. */
	if (atomic_load_explicit(&limit->lines, memory_order_relaxed) >= LOG_GUEST_BURST)
		return 0;
	line = atomic_fetch_add_explicit(&limit->lines, 1, memory_order_relaxed) + 1;
	return line <= LOG_GUEST_BURST ? LOG_GUEST_BURST + 1 - line : 0;
}

unsigned log_limit_now(struct log_limit *limit)
{
	return log_limit_take(limit, window_now());
}

/* What the line ends with; NULL: the budget is spent. */
static const char *budget(struct log_limit *limit)
{
	unsigned left;

	if (window_now() < atomic_load_explicit(&held_until, memory_order_relaxed))
		return NULL;
	left = log_limit_now(limit);
	if (!left)
		return NULL;
	return left > 1 ? "" : " (more of these are held back for a while)";
}

void log_guest(struct log_limit *limit, const char *fmt, ...)
{
	const char *suffix = budget(limit);

	if (suffix)
		WRITE_LINE("guest: ", suffix, fmt);
}

void log_host(struct log_limit *limit, const char *fmt, ...)
{
	const char *suffix = budget(limit);

	if (suffix)
		WRITE_LINE("warning: ", suffix, fmt);
}
