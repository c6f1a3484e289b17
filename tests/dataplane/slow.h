/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Storage that answers when the test wants: our own io_submit(), which the linker prefers to
 * libaio's. Included by one file of a test program.
 */
#ifndef MVMM_TESTS_SLOW_H
#define MVMM_TESTS_SLOW_H

#include <libaio.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "tests/dataplane/rig.h"

/* While `hold` is set, requests are taken but reach the kernel only by release_held(): those of one
 * disk, where there are several. (A poll, by which the thread sleeps, is none.) */
static struct {
	pthread_mutex_t lock;
	bool hold;
	int error;	 /* io_submit() fails with it */
	bool no_poll;	 /* as before Linux 4.18 */
	unsigned lag_us; /* by then the storage has answered: so long does io_submit() take */
	io_context_t ctx;
	unsigned n;
	struct iocb *iocb[256];
	unsigned durable; /* requests with RWF_DSYNC seen */
	unsigned writes;  /* WRITEs seen, those that go as one counted once */
} slow = { .lock = PTHREAD_MUTEX_INITIALIZER };

static inline int really_submit(io_context_t ctx, long n, struct iocb **iocb)
{
	const int ret = syscall(SYS_io_submit, ctx, n, iocb);

	return ret < 0 ? -errno : ret;
}

int io_submit(io_context_t ctx, long n, struct iocb **iocb)
{
	const bool poll = n == 1 && iocb[0]->aio_lio_opcode == IO_CMD_POLL;
	int ret = n;

	if (poll)
		return slow.no_poll ? -EINVAL : really_submit(ctx, n, iocb);
	pthread_mutex_lock(&slow.lock);
	for (long i = 0; i < n; i++) {
		slow.durable += !!(iocb[i]->aio_rw_flags & RWF_DSYNC);
		slow.writes += iocb[i]->aio_lio_opcode == IO_CMD_PWRITE ||
			       iocb[i]->aio_lio_opcode == IO_CMD_PWRITEV;
	}
	if (slow.error) {
		ret = -slow.error;
	} else if (slow.hold && (!slow.n || ctx == slow.ctx)) {
		slow.ctx = ctx;
		memcpy(slow.iocb + slow.n, iocb, n * sizeof(*iocb));
		slow.n += n;
	} else {
		ret = really_submit(ctx, n, iocb);
		usleep(slow.lag_us);
	}
	pthread_mutex_unlock(&slow.lock);
	return ret;
}

static inline void hold_io(bool hold)
{
	pthread_mutex_lock(&slow.lock);
	slow.hold = hold;
	pthread_mutex_unlock(&slow.lock);
}

static inline void fail_io(int error)
{
	pthread_mutex_lock(&slow.lock);
	slow.error = error;
	pthread_mutex_unlock(&slow.lock);
}

static inline void release_held(void)
{
	pthread_mutex_lock(&slow.lock);
	if (slow.n)
		assert_int_equal(really_submit(slow.ctx, slow.n, slow.iocb), slow.n);
	slow.n = 0;
	slow.hold = false;
	pthread_mutex_unlock(&slow.lock);
}

static inline void wait_held(unsigned n)
{
	unsigned now;

	for (unsigned i = 0; i < RIG_WAIT_MS; i++) {
		pthread_mutex_lock(&slow.lock);
		now = slow.n;
		pthread_mutex_unlock(&slow.lock);
		if (now == n)
			return;
		usleep(1000);
	}
	fail_msg("%u requests in flight, not %u", now, n);
}

static inline bool is_holding(void)
{
	bool any;

	pthread_mutex_lock(&slow.lock);
	any = slow.n;
	pthread_mutex_unlock(&slow.lock);
	return any;
}

static inline unsigned take_durable(void)
{
	unsigned n;

	pthread_mutex_lock(&slow.lock);
	n = slow.durable;
	slow.durable = 0;
	pthread_mutex_unlock(&slow.lock);
	return n;
}

#endif
