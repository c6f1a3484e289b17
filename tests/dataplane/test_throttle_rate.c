/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Limits by the clock: what the disk's own counters say went in a window of time, which a driver
 * that keeps its queue full has nothing to do with.
 *
 * Whoever shares the machine may take the CPU from us for longer than a limit makes up for. So a
 * window that is off by more than two percent is measured again, a few times; a limit that is not
 * met is off each time.
 */
#include "tests/dataplane/limited.h"

#define MAX_DEPTH 256
#define WINDOW_MS 500
#define TRIES	  12
#define GAPS	  20000

/* A driver that keeps `depth` requests of `bytes` at a disk; its own thread. They share a buffer:
 * what is read is not looked at. */
struct load {
	struct rig *rig;
	unsigned depth;
	uint32_t type, bytes;
	gpa_t data;
	struct rig_req req[MAX_DEPTH];
	uint64_t *gap; /* between completions, as the driver sees them; ns */
	_Atomic unsigned ngaps;
	_Atomic bool stop;
	const char *error;
	pthread_t thread;
};

static bool queue_one(struct load *l, unsigned slot)
{
	const uint64_t places = RIG_SIZE / l->bytes;

	return rig_queue(l->rig, 0, &l->req[slot], l->type, slot % places * (l->bytes / 512),
			 l->bytes, slot) >= 0;
}

static void note_gap(struct load *l, uint64_t *last)
{
	const unsigned n = atomic_load_explicit(&l->ngaps, memory_order_relaxed);
	const uint64_t now = now_ns();

	if (*last && n < GAPS) {
		l->gap[n] = now - *last;
		atomic_store_explicit(&l->ngaps, n + 1, memory_order_release);
	}
	*last = now;
}

static void *load_run(void *arg)
{
	struct load *l = arg;
	struct fake_done done = { 0 };
	unsigned queued = 0;
	uint64_t last = 0;

	while (queued < l->depth && queue_one(l, queued))
		queued++;
	rig_kick(l->rig, 0);
	while (queued && !l->error) {
		if (!rig_wait(l->rig, 0, &done))
			l->error = "no completion, no interrupt";
		else if (rig_status(l->rig, &l->req[done.cookie]) != VIRTIO_BLK_S_OK)
			l->error = "status is not OK";
		note_gap(l, &last);
		if (l->error || l->stop)
			queued--;
		else if (!queue_one(l, done.cookie))
			l->error = "queue full";
		rig_kick(l->rig, 0);
	}
	return NULL;
}

static struct load *load_new(unsigned depth, uint32_t type, uint32_t bytes,
			     struct throttle_limits limits, struct throttle_buckets *buckets)
{
	struct load *l = calloc(1, sizeof(*l));

	l->gap = calloc(GAPS, sizeof(*l->gap));
	l->depth = depth;
	l->type = type;
	l->bytes = bytes;
	l->rig = rig_new((struct rig_config){ .dir = "/dev/shm",
					      .depth = depth,
					      .queue_size = 1024,
					      .features = F_EVENT,
					      .limits = limits,
					      .buckets = buckets });
	l->data = rig_req(l->rig, bytes).data;
	for (unsigned i = 0; i < depth; i++) {
		l->req[i] = rig_req(l->rig, 0);
		l->req[i].data = l->data;
	}
	assert_int_equal(pthread_create(&l->thread, NULL, load_run, l), 0);
	return l;
}

/* What still waits may go. */
static void load_free(struct load *l)
{
	l->stop = true;
	assert_int_equal(set_limits(l->rig, &(struct throttle_limits){ 0 }), 0);
	pthread_join(l->thread, NULL);
	if (l->error)
		fail_msg("%s", l->error);
	rig_free(l->rig);
	free(l->gap);
	free(l);
}

static uint64_t done_by(const struct load *l)
{
	return rig_stat(
		&blk_dataplane_stats(l->rig->dp)
			 ->requests[l->type == VIRTIO_BLK_T_OUT ? BLK_OP_WRITE : BLK_OP_READ]);
}

/* Requests per second of `n` disks, by their own count; each[i] is the part of disk i. */
static double measure(struct load *const *l, unsigned n, unsigned ms, double *each)
{
	uint64_t before[4], total = 0, from = now_ns();
	double seconds;

	for (unsigned i = 0; i < n; i++)
		before[i] = done_by(l[i]);
	usleep(ms * 1000);
	seconds = (double)(now_ns() - from) / 1e9;
	for (unsigned i = 0; i < n; i++) {
		const uint64_t did = done_by(l[i]) - before[i];

		if (each)
			each[i] = (double)did / seconds;
		total += did;
	}
	return (double)total / seconds;
}

static bool near(double got, double want, double part)
{
	return got > want * (1 - part) && got < want * (1 + part);
}

static void expect_rate(struct load *const *l, unsigned n, double want, const char *what)
{
	/* One request more or less is no error of the limit. */
	const double part = 0.02 + 1000.0 / WINDOW_MS / want;
	double got = 0;

	usleep(50000); /* until what it was allowed to begin with is used up */
	for (unsigned try = 0; try < TRIES; try++) {
		got = measure(l, n, WINDOW_MS, NULL);
		if (near(got, want, part)) {
			printf("%s: %.0f/s, limit %.0f, try %u\n", what, got, want, try + 1);
			return;
		}
	}
	fail_msg("%s: %.0f/s and not %.0f", what, got, want);
}

static const unsigned depths[] = { 1, 32, 256 };
static const uint32_t sizes[] = { 4096, 65536, 1 << 20 };

static void requests_per_second_are_met(void **state)
{
	static const uint64_t rates[] = { 5000, 2000, 400 };
	char what[64];

	for (unsigned i = 0; i < 9; i++) {
		const unsigned depth = depths[i % 3], size = sizes[i / 3];
		struct load *l = load_new(depth, i % 2 ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN, size,
					  limit(THROTTLE_IOPS, rates[i / 3]), NULL);

		snprintf(what, sizeof(what), "iops, depth %u, %u KiB", depth, size / 1024);
		expect_rate(&l, 1, (double)rates[i / 3], what);
		load_free(l);
	}
}

static void bytes_per_second_are_met(void **state)
{
	static const uint64_t rates[] = { 20 << 20, 100 << 20, 400 << 20 };
	char what[64];

	for (unsigned i = 0; i < 9; i++) {
		const unsigned depth = depths[i % 3], size = sizes[i / 3];
		struct load *l = load_new(depth, i % 2 ? VIRTIO_BLK_T_IN : VIRTIO_BLK_T_OUT, size,
					  limit(THROTTLE_BPS, rates[i / 3]), NULL);

		snprintf(what, sizeof(what), "bytes, depth %u, %u KiB", depth, size / 1024);
		expect_rate(&l, 1, (double)rates[i / 3] / size, what);
		load_free(l);
	}
}

static int compare(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* Who only sleeps from one deadline to the next, for a window: the 99th percentile of the times between
 * them is what this host makes of any thread now. */
static uint64_t p99_of_the_host(uint64_t period)
{
	static uint64_t gap[2000];
	const unsigned n = WINDOW_MS * 1000000ULL / period;
	uint64_t deadline = now_ns(), last = deadline;

	assert_true(n <= sizeof(gap) / sizeof(gap[0]));
	for (unsigned i = 0; i < n; i++) {
		const uint64_t at = deadline += period;
		const struct timespec ts = { at / 1000000000, at % 1000000000 };

		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
		gap[i] = now_ns() - last;
		last += gap[i];
	}
	qsort(gap, n, sizeof(*gap), compare);
	return gap[n * 99 / 100];
}

/*
 * Half of the gaps are within half a period of it: no herd that runs at once and then rests. And of
 * hundred not even one is longer than a few periods, and what each of the threads that a request passes
 * has to wait for the host.
 */
static bool even(struct load *l, unsigned from, uint64_t period, uint64_t host)
{
	const unsigned n = atomic_load_explicit(&l->ngaps, memory_order_acquire) - from;
	uint64_t *gap = l->gap + from;
	unsigned close = 0;

	qsort(gap, n, sizeof(*gap), compare);
	for (unsigned i = 0; i < n; i++)
		close += gap[i] > period / 2 && gap[i] < period * 3 / 2;
	printf("depth %u, a request each %lu us: gaps p50 %lu us, p99 %lu us (the host: %lu us), "
	       "max %lu us\n",
	       l->depth, period / 1000, gap[n / 2] / 1000, gap[n * 99 / 100] / 1000, host / 1000,
	       gap[n - 1] / 1000);
	return n > 100 && close > n / 2 && gap[n * 99 / 100] < 3 * (period + host);
}

static void requests_come_one_by_one(void **state)
{
	for (unsigned i = 0; i < 3; i++) {
		struct load *l = load_new(depths[i], VIRTIO_BLK_T_IN, 4096,
					  limit(THROTTLE_IOPS, 1000), NULL);
		unsigned try = 0, from;
		uint64_t host;

		do {
			assert_true(try++ < TRIES);
			usleep(20000);
			from = atomic_load_explicit(&l->ngaps, memory_order_acquire);
			host = p99_of_the_host(1000000);
		} while (!even(l, from, 1000000, host));
		load_free(l);
	}
}

/* Up, down, away and back, while as many wait as the depth allows. */
static void limits_that_change_under_load_are_met_at_once(void **state)
{
	static const uint64_t rates[] = { 200, 50, 0, 5000, 500, 2500, 100 };
	char what[64];

	for (unsigned d = 0; d < 3; d++) {
		struct load *l =
			load_new(depths[d], VIRTIO_BLK_T_IN, 4096, limit(THROTTLE_IOPS, 100), NULL);

		for (unsigned i = 0; i < 7; i++) {
			const struct throttle_limits limits = limit(THROTTLE_IOPS, rates[i]);

			assert_int_equal(set_limits(l->rig, &limits), 0);
			snprintf(what, sizeof(what), "depth %u, changed, iops=%lu", depths[d],
				 rates[i]);
			if (rates[i])
				expect_rate(&l, 1, (double)rates[i], what);
		}
		load_free(l);
	}
}

/* ---- groups ---------------------------------------------------------------------------------- */

static void change_group(struct load *const *l, unsigned n, const struct throttle_limits *limits)
{
	throttle_change(buckets_of(l[0]->rig), &l[0]->rig->config.limits, limits, now_ns());
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(tell_limits(l[i]->rig, limits), 0);
}

static bool shared_evenly(struct load *const *l, double want)
{
	double each[3];

	if (!near(measure(l, 3, WINDOW_MS, each), want, 0.02))
		return false;
	printf("group of three: %.0f %.0f %.0f/s\n", each[0], each[1], each[2]);
	return near(each[0], want / 3, 0.15) && near(each[1], want / 3, 0.15) &&
	       near(each[2], want / 3, 0.15);
}

static void three_disks_share_a_limit(void **state)
{
	static const unsigned depth[] = { 8, 32, 200 };
	struct throttle_limits limits = limit(THROTTLE_IOPS, 3000);
	struct throttle_buckets buckets = { 0 };
	struct load *l[3];
	unsigned try = 0;

	for (unsigned i = 0; i < 3; i++)
		l[i] = load_new(depth[i], i % 2 ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN, 4096, limits,
				&buckets);
	do {
		assert_true(try++ < TRIES);
	} while (!shared_evenly(l, 3000));
	limits = limit(THROTTLE_IOPS, 900);
	change_group(l, 3, &limits);
	expect_rate(l, 3, 900, "the group, changed");
	for (unsigned i = 0; i < 3; i++)
		load_free(l[i]);
}

static void what_two_disks_leave_the_third_may_have(void **state)
{
	const struct throttle_limits limits = limit(THROTTLE_IOPS, 3000);
	struct throttle_buckets buckets = { 0 };
	struct load *l[3];

	for (unsigned i = 0; i < 3; i++)
		l[i] = load_new(32, VIRTIO_BLK_T_IN, 4096, limits, &buckets);
	l[0]->stop = l[1]->stop = true;
	pthread_join(l[0]->thread, NULL);
	pthread_join(l[1]->thread, NULL);
	expect_rate(&l[2], 1, 3000, "alone in its group");
	l[0]->stop = l[1]->stop = false;
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&l[i]->thread, NULL, load_run, l[i]), 0);
	expect_rate(l, 3, 3000, "the group, together again");
	for (unsigned i = 0; i < 3; i++)
		load_free(l[i]);
}

/* A thread that had its timer set for nothing, or looked all the time, would sleep more or less. */
static void a_long_wait_is_slept_through(void **state)
{
	struct load *l = load_new(32, VIRTIO_BLK_T_IN, 4096, limit(THROTTLE_IOPS, 20), NULL);
	const struct blk_stats *stats = blk_dataplane_stats(l->rig->dp);
	uint64_t sleeps, looks, done;

	usleep(500000);
	sleeps = rig_stat(&stats->sleeps);
	looks = rig_stat(&stats->looks);
	done = done_by(l);
	usleep(1000000);
	sleeps = rig_stat(&stats->sleeps) - sleeps;
	looks = rig_stat(&stats->looks) - looks;
	done = done_by(l) - done;
	printf("%lu requests: %lu sleeps, %lu looks\n", done, sleeps, looks);
	assert_in_range(done, 10, 25);
	/* For the deadline, for the completion, for the next request's kick. */
	assert_true(sleeps <= 4 * done + 10);
	assert_true(looks <= 2 * done + 10);
	load_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_per_second_are_met),
		cmocka_unit_test(bytes_per_second_are_met),
		cmocka_unit_test(requests_come_one_by_one),
		cmocka_unit_test(limits_that_change_under_load_are_met_at_once),
		cmocka_unit_test(three_disks_share_a_limit),
		cmocka_unit_test(what_two_disks_leave_the_third_may_have),
		cmocka_unit_test(a_long_wait_is_slept_through),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
