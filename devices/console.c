/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The console's ring and the thread that empties it into a file descriptor.
 *
 * Threads: a vCPU puts (under the UART's lock, so there is one producer at a time), "console"
 * takes, main starts and stops. Must not know UARTs, terminals, or why anybody writes.
 *
 * `head` and `tail` count bytes for ever and wrap at 2^32, a multiple of the ring: head - tail is
 * what is pending. The producer stores a byte, then head; the thread loads head, then the byte. The
 * other way round for room: tail is stored when write(2) is through with the bytes.
 *
 * Two questions need more than that, each a store here and a load there that must not pass each
 * other, hence the sequentially consistent default of these atomics:
 *  - asleep: the thread sets it, then looks at head; the producer stores head, then looks at it.
 *    Otherwise the last byte before a silence could stay in the ring.
 *  - want_space: the producer sets it, then looks at tail; the thread stores tail, then looks at
 *    it. Otherwise a guest could wait for an interrupt that nobody sends.
 */
#include "devices/console.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "vmm/log.h"
#include "vmm/thread_signals.h"

/* Bytes per write(2): room in the ring comes back in pieces no larger than this, and a pipe takes
 * that many at once or none (PIPE_BUF). */
#define CONSOLE_CHUNK	4096
#define CONSOLE_STACK	(64 * 1024)
#define CONSOLE_POLL_MS 100
#define CONSOLE_NAP_MS	1

static void signal_fd(int eventfd)
{
	const uint64_t one = 1;

	if (write(eventfd, &one, sizeof(one)) < 0)
		return; /* cannot fail: the counter is far from full */
}

/* The longest proper prefix of match[0, n) that is also its suffix. A panic message is short, so
 * looking it up as needed is cheaper than a table that has to be kept. */
static size_t border(const char *match, size_t n)
{
	size_t k;

	for (k = n - 1; k && memcmp(match, match + n - k, k); k--)
		;
	return k;
}

static void match_byte(struct console *con, uint8_t byte)
{
	if (!con->match)
		return;
	while (con->matched && (uint8_t)con->match[con->matched] != byte)
		con->matched = border(con->match, con->matched);
	if ((uint8_t)con->match[con->matched] == byte)
		con->matched++;
	if (con->match[con->matched])
		return;
	con->match = NULL;
	con->on_match(con->opaque);
}

bool console_full(const struct console *con)
{
	return atomic_load(&con->head) - atomic_load(&con->tail) == CONSOLE_RING;
}

bool console_put(struct console *con, uint8_t byte)
{
	const uint32_t head = atomic_load_explicit(&con->head, memory_order_relaxed);

	if (atomic_load_explicit(&con->broken, memory_order_relaxed)) {
		console_drop(con, byte);
		return true;
	}
	if (console_full(con))
		return false;
	match_byte(con, byte);
	if (con->fd < 0)
		return true;
	con->ring[head % CONSOLE_RING] = byte;
	atomic_store(&con->head, head + 1);
	if (atomic_load(&con->asleep)) {
		atomic_store(&con->asleep, false);
		signal_fd(con->wake);
	}
	return true;
}

void console_drop(struct console *con, uint8_t byte)
{
	match_byte(con, byte);
	atomic_fetch_add_explicit(&con->dropped, 1, memory_order_relaxed);
}

bool console_want_space(struct console *con, const struct irq_line *line)
{
	atomic_store(&con->want_space, line);
	return console_full(con);
}

static void wait_for_bytes(struct console *con)
{
	uint64_t count;

	atomic_store(&con->asleep, true);
	if (atomic_load(&con->head) == atomic_load(&con->tail) && !atomic_load(&con->stop) &&
	    read(con->wake, &count, sizeof(count)) < 0)
		return; /* every signal is blocked; the caller looks again anyway */
	atomic_store(&con->asleep, false);
}

/* Gives `n` bytes of the ring back. */
static void release(struct console *con, uint32_t n)
{
	const struct irq_line *line;

	atomic_store(&con->tail, atomic_load_explicit(&con->tail, memory_order_relaxed) + n);
	line = atomic_exchange(&con->want_space, NULL);
	if (line)
		irq_line_signal(line);
}

static void give_up_writing(struct console *con, int error)
{
	atomic_store(&con->broken, true);
	log_warn("console: %s; what the guest writes from here on is lost", strerror(error));
}

/* POLLOUT of a terminal may mean room for a letter, but not for an end of line: hence the nap. */
static void wait_for_room(struct console *con)
{
	struct pollfd pfd = { .fd = con->fd, .events = POLLOUT };

	poll(&pfd, 1, CONSOLE_POLL_MS);
	poll(NULL, 0, CONSOLE_NAP_MS);
}

/* Writes from the ring; how many bytes are done with, 0: try again. */
static uint32_t write_chunk(struct console *con, const uint8_t *data, uint32_t n)
{
	ssize_t done;
	int error;

	/* Main sets `abandoned`, then looks at `writing`: either it sees that we may be stuck, or
	 * we see that we must not begin. */
	atomic_store(&con->writing, true);
	if (atomic_load(&con->abandoned))
		return 0;
	done = write(con->fd, data, n);
	error = done < 0 ? errno : EIO; /* 0 of n > 0 bytes: no file does that twice */
	atomic_store(&con->writing, false);
	if (atomic_load(&con->abandoned))
		return 0;
	if (done > 0)
		return done;
	if (error == EAGAIN)
		wait_for_room(con);
	else if (error != EINTR)
		give_up_writing(con, error);
	return 0;
}

static void drain(struct console *con, uint32_t pending)
{
	const uint32_t at = atomic_load_explicit(&con->tail, memory_order_relaxed) % CONSOLE_RING;
	uint32_t n = pending;

	if (atomic_load_explicit(&con->broken, memory_order_relaxed)) {
		atomic_fetch_add_explicit(&con->dropped, n, memory_order_relaxed);
		release(con, n);
		return;
	}
	if (n > CONSOLE_CHUNK)
		n = CONSOLE_CHUNK;
	if (n > CONSOLE_RING - at)
		n = CONSOLE_RING - at;
	n = write_chunk(con, con->ring + at, n);
	if (n)
		release(con, n);
}

static void *console_thread(void *arg)
{
	struct console *con = arg;

	pthread_setname_np(pthread_self(), "console");
	thread_hook_enter(&con->hook);
	while (!atomic_load(&con->abandoned)) {
		const uint32_t pending = atomic_load(&con->head) -
					 atomic_load_explicit(&con->tail, memory_order_relaxed);

		if (pending)
			drain(con, pending);
		else if (atomic_load(&con->stop))
			break;
		else
			wait_for_bytes(con);
	}
	signal_fd(con->ended);
	return NULL;
}

static int start_thread(struct console *con)
{
	const size_t min = PTHREAD_STACK_MIN;
	pthread_attr_t attr;
	sigset_t blocked, old;
	int ret;

	ret = pthread_attr_init(&attr);
	if (ret)
		return ret;
	pthread_attr_setstacksize(&attr, min > CONSOLE_STACK ? min : CONSOLE_STACK);
	thread_signals(&blocked);
	pthread_sigmask(SIG_SETMASK, &blocked, &old);
	ret = pthread_create(&con->thread, &attr, console_thread, con);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return ret;
}

static void close_fds(struct console *con)
{
	if (con->wake >= 0)
		close(con->wake);
	if (con->ended >= 0)
		close(con->ended);
	con->wake = con->ended = -1;
}

static int open_and_start(struct console *con, struct error *err)
{
	int ret;

	con->wake = eventfd(0, EFD_CLOEXEC);
	con->ended = eventfd(0, EFD_CLOEXEC);
	if (con->wake < 0 || con->ended < 0)
		return error_set(err, errno, "console: cannot create an eventfd");
	ret = start_thread(con);
	if (ret)
		return error_set(err, ret, "console: cannot create a thread");
	con->running = true;
	thread_hook_created(&con->hook);
	return 0;
}

int console_start(struct console *con, int fd, const char *match, void (*on_match)(void *opaque),
		  void *opaque, const struct thread_hook *hook, struct error *err)
{
	int ret;

	/* Not the ring: its pages cost nothing until they are used. */
	memset(con, 0, offsetof(struct console, ring));
	con->fd = fd;
	con->match = match && *match ? match : NULL;
	con->on_match = on_match;
	con->opaque = opaque;
	if (hook)
		con->hook = *hook;
	con->wake = con->ended = -1;
	if (fd < 0)
		return 0;
	ret = open_and_start(con, err);
	if (ret)
		close_fds(con);
	return ret;
}

static uint64_t monotonic_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* pthread_join() with a timeout that no change of the host's clock can stretch. */
static bool ends_within(struct console *con, int timeout_ms)
{
	struct pollfd pfd = { .fd = con->ended, .events = POLLIN };
	const uint64_t until = monotonic_ms() + timeout_ms;
	uint64_t now = until - timeout_ms;
	int ret;

	do {
		ret = poll(&pfd, 1, until - now);
		now = monotonic_ms();
	} while (ret < 0 && errno == EINTR && now < until);
	return ret > 0;
}

static void stop_thread(struct console *con, int timeout_ms)
{
	con->running = false;
	atomic_store(&con->stop, true);
	signal_fd(con->wake);
	if (!ends_within(con, timeout_ms)) {
		atomic_store(&con->abandoned, true);
		if (atomic_load(&con->writing)) {
			pthread_detach(con->thread);
			return;
		}
	}
	/* It has ended, or is not blocked and will not block again. */
	pthread_join(con->thread, NULL);
	close_fds(con);
}

uint64_t console_stop(struct console *con, int timeout_ms)
{
	if (con->running)
		stop_thread(con, timeout_ms);
	return atomic_load(&con->dropped) + (atomic_load(&con->head) - atomic_load(&con->tail));
}
