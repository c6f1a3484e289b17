/* SPDX-License-Identifier: Apache-2.0 */
/* A driver that breaks its ring: the device stops, says so, recovers by a reset, and nobody else is
 * concerned. H numbers are the cases of docs/security.md. */
#include "tests/dataplane/driver.h"
#include "tests/dataplane/rig.h"
#include "tests/dataplane/slow.h"

/* virtio 1.2, 2.1.2: the bit, and one configuration interrupt. Then no ring is looked at any more. */
static void expect_needs_reset(struct rig *rig)
{
	struct pollfd pfd = { .fd = rig->config_fd, .events = POLLIN };
	uint16_t used[RIG_QUEUES];
	uint64_t count;

	assert_int_equal(poll(&pfd, 1, RIG_WAIT_MS), 1);
	assert_int_equal(atomic_load(&rig->status), VIRTIO_CONFIG_S_NEEDS_RESET);
	for (unsigned q = 0; q < rig->config.nqueues; q++) {
		used[q] = guest_load16(&rig->drv[q].used->idx);
		rig_ring(rig->kick_fd[q]);
	}
	usleep(2000);
	for (unsigned q = 0; q < rig->config.nqueues; q++)
		assert_int_equal(guest_load16(&rig->drv[q].used->idx), used[q]);
	assert_true(read(rig->config_fd, &count, sizeof(count)) > 0);
	assert_int_equal(count, 1);
}

/* What a driver does about NEEDS_RESET, and that the disk then works: the right data is read. */
static void expect_recovery(struct rig *rig)
{
	struct rig_req r = rig_req(rig, 512);
	uint8_t want[512];
	uint64_t count;

	assert_int_equal(rig_send(rig, BLK_CMD_RESET), 0);
	atomic_store(&rig->status, 0);
	while (read(rig->irq_fd[0], &count, sizeof(count)) > 0)
		;
	fake_queue_reset(&rig->drv[0]);
	assert_int_equal(rig_start(rig), 0);
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_IN, 77, 512), VIRTIO_BLK_S_OK);
	rig_peek(rig, 77 * 512, want, 512);
	assert_memory_equal(rig_ptr(rig, r.data), want, 512);
	assert_int_equal(atomic_load(&rig->status), 0);
}

/* ---- every way to break a ring --------------------------------------------------------------- */

/* Descriptors are the queue's own, its tables a page of indirect ones. */
struct harm {
	const char *what;
	void (*do_it)(struct fake_queue *q, gpa_t table, struct vring_desc *t);
	bool no_indirect; /* the feature is not negotiated */
};

static void publish_head(struct fake_queue *q, uint16_t head)
{
	fake_queue_offer(q, head);
	fake_queue_publish(q);
}

#define HARM(name, statements)                                                                     \
	static void name(struct fake_queue *q, gpa_t table, struct vring_desc *t)                  \
	{                                                                                          \
		statements;                                                                        \
	}
#define RING(i, addr, len, flags, next) fake_queue_set_desc(q, i, addr, len, flags, next)
#define TABLE(i, ...)			(t[i] = (struct vring_desc){ __VA_ARGS__ })
#define NEXT				VRING_DESC_F_NEXT
#define INDIRECT			VRING_DESC_F_INDIRECT

HARM(jump, fake_queue_set_avail_idx(q, q->avail_idx + q->config.size + 1))
HARM(backwards, fake_queue_set_avail_idx(q, q->avail_idx - 1))
HARM(head_behind, publish_head(q, q->config.size))
HARM(head_far, publish_head(q, 0xffff))
HARM(self_loop, RING(7, table, 1, NEXT, 7); publish_head(q, 7))
HARM(two_cycle, RING(7, table, 1, NEXT, 8); RING(8, table, 1, NEXT, 7); publish_head(q, 7))
HARM(empty_loop, RING(7, table, 0, NEXT, 7); publish_head(q, 7))
HARM(next_behind, RING(7, table, 1, NEXT, q->config.size); publish_head(q, 7))
HARM(too_long, for (unsigned i = 0; i <= VIRTQ_MAX_CHAIN; i++)
		       RING(i, table, 1, i < VIRTQ_MAX_CHAIN ? NEXT : 0, i + 1);
     publish_head(q, 0))
/* A read of sector 0, so that the first one is in flight when the second is seen. */
HARM(twice, RING(7, table, 16, NEXT, 8); RING(8, table + 512, 512, W | NEXT, 9);
     RING(9, table + 2048, 1, W, 0); fake_queue_offer(q, 7); publish_head(q, 7))
HARM(indirect, RING(7, table, 16, INDIRECT, 0); publish_head(q, 7))
HARM(table_empty, RING(7, table, 0, INDIRECT, 0); publish_head(q, 7))
HARM(table_odd, RING(7, table, 40, INDIRECT, 0); publish_head(q, 7))
HARM(table_huge, RING(7, table, 16 * VIRTQ_MAX_SIZE + 16, INDIRECT, 0); publish_head(q, 7))
HARM(table_at_end, RING(7, q->guest->base + q->guest->size - 16, 32, INDIRECT, 0);
     publish_head(q, 7))
HARM(table_nowhere, RING(7, 0xc0003000, 16, INDIRECT, 0); publish_head(q, 7))
HARM(table_and_next, RING(7, table, 16, INDIRECT | NEXT, 8); RING(8, table, 1, 0, 0);
     publish_head(q, 7))
HARM(nested, TABLE(0, table + 512, 16, INDIRECT, 0); RING(7, table, 16, INDIRECT, 0);
     publish_head(q, 7))
HARM(table_loop, TABLE(0, table, 1, NEXT, 1); TABLE(1, table, 1, NEXT, 0);
     RING(7, table, 32, INDIRECT, 0); publish_head(q, 7))
HARM(table_next, TABLE(0, table, 1, NEXT, 2); RING(7, table, 32, INDIRECT, 0); publish_head(q, 7))
HARM(table_long, for (unsigned i = 0; i <= VIRTQ_MAX_CHAIN; i++)
			 TABLE(i, table, 1, i < VIRTQ_MAX_CHAIN ? NEXT : 0, i + 1);
     RING(7, table, 16 * (VIRTQ_MAX_CHAIN + 1), INDIRECT, 0); publish_head(q, 7))

static const struct harm harms[] = {
	{ "H1: the index jumps", jump, false },
	{ "H1: the index goes back", backwards, false },
	{ "H2: a head behind the table", head_behind, false },
	{ "H2: a head far behind", head_far, false },
	{ "H3: a descriptor follows itself", self_loop, false },
	{ "H3: a cycle of two", two_cycle, false },
	{ "H3: a loop without a byte", empty_loop, false },
	{ "H3: a next behind the table", next_behind, false },
	{ "H3: a chain too long", too_long, false },
	{ "H4: a head twice in a batch", twice, false },
	{ "H5: a table without the feature", indirect, true },
	{ "H5: an empty table", table_empty, false },
	{ "H5: a table and a half descriptor", table_odd, false },
	{ "H5: a table too long", table_huge, false },
	{ "H5: a table over the end of memory", table_at_end, false },
	{ "H5: a table on a device", table_nowhere, false },
	{ "H5: a table and a next", table_and_next, false },
	{ "H5: a table in a table", nested, false },
	{ "H5: a loop in a table", table_loop, false },
	{ "H5: a next behind a table", table_next, false },
	{ "H5: a chain too long in a table", table_long, false },
};

static void every_broken_ring_stops_the_device_until_reset(void **state)
{
	for (unsigned i = 0; i < sizeof(harms) / sizeof(harms[0]); i++) {
		struct rig *rig = rig_new((struct rig_config){
			.features = F_EVENT | (harms[i].no_indirect ? 0 : F_INDIRECT),
			.queue_size = 256,
		});
		const gpa_t table = fake_guest_alloc(&rig->guest, 4096, 4096);
		struct rig_req r = rig_req(rig, 512);

		print_message("# %s\n", harms[i].what);
		/* Not the first thing it sees. */
		assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
		harms[i].do_it(&rig->drv[0], table, rig_ptr(rig, table));
		rig_ring(rig->kick_fd[0]);
		expect_needs_reset(rig);
		assert_int_equal(rig_stat(&blk_dataplane_stats(rig->dp)->broken), 1);
		expect_recovery(rig);
		rig_free(rig);
	}
}

/* CVE-2026-45782: the first one is still on its way to the disk. */
static void H4_a_head_offered_again_while_in_flight_stops_the_device(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ 0 });
	struct rig_req r = rig_req(rig, 512);
	struct fake_done done;
	int head;

	hold_io(true);
	head = rig_queue(rig, 0, &r, VIRTIO_BLK_T_IN, 0, 512, 0);
	rig_kick(rig, 0);
	wait_held(1);
	fake_queue_offer(&rig->drv[0], head);
	rig_kick(rig, 0);
	expect_needs_reset(rig);
	release_held();
	assert_int_equal(rig_send(rig, BLK_CMD_RESET), 0);
	/* What ended now was not put into a ring that was not to be touched. */
	assert_false(fake_queue_poll(&rig->drv[0], &done));
	assert_int_equal(rig_status(rig, &r), 0xff);
	expect_recovery(rig);
	rig_free(rig);
}

/* The disk's content lands on rings, header and status of the request itself. What the ring then
 * says is nonsense, and so is the answer; the thread must not care, and a reset must cure it. */
static void H11_reads_over_the_ring_itself_do_no_harm(void **state)
{
	const struct rig_config config = { .dir = "/dev/shm" };

	for (unsigned i = 0; i < 4; i++) {
		struct rig *rig = rig_new(config);
		struct rig_req r = rig_req(rig, 512);
		const gpa_t over[] = { rig->drv[0].config.desc, rig->drv[0].config.avail,
				       rig->drv[0].config.used, r.hdr & ~511ULL };

		r.data = over[i];
		assert_true(rig_queue(rig, 0, &r, VIRTIO_BLK_T_IN, 8 * (200 + i), 512, 0) >= 0);
		rig_kick(rig, 0);
		for (unsigned k = 0; k < 50; k++) {
			rig_ring(rig->kick_fd[0]);
			usleep(100);
		}
		assert_int_equal(rig_send(rig, BLK_CMD_RESET), 0);
		expect_recovery(rig);
		rig_free(rig);
	}
}

#ifndef MVMM_TSAN /* a guest that races with itself is a race */
/* A second vCPU: rewrites descriptors, ring and headers while they are being read. */
struct flipper {
	pthread_t thread;
	struct rig *rig;
	gpa_t hdr;
	_Atomic bool stop;
	_Atomic unsigned rounds;
};

static void *flip_run(void *arg)
{
	struct flipper *f = arg;
	struct fake_queue *q = &f->rig->drv[0];
	volatile struct vring_desc *desc = q->desc;
	volatile struct virtio_blk_outhdr *hdr = rig_ptr(f->rig, f->hdr);
	const gpa_t mask = f->rig->guest.size - 1;
	uint64_t x = 88172645463325252ULL;

	while (!f->stop) {
		const unsigned i = x % q->config.size;

		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
		desc[i].addr = x & 0xf000 ? f->rig->guest.base + (x >> 20 & mask) : f->hdr;
		desc[i].len = x & 0x100 ? 16 : x >> 50;
		desc[i].flags = x >> 40 & 7;
		desc[i].next = x >> 30 & 63;
		q->avail->ring[i] = x >> 25 & 63;
		hdr->type = x >> 33 & 15;
		hdr->sector = x >> 41 & 0xfff;
		f->rounds++;
	}
	return NULL;
}

static void H12_nothing_read_twice_can_be_turned_against_us(void **state)
{
	const uint64_t features = F_EVENT | F_INDIRECT | F_RANGES;
	struct rig *rig = rig_new((struct rig_config){ .dir = "/dev/shm", .features = features });
	struct flipper f = { .rig = rig, .hdr = fake_guest_alloc(&rig->guest, 16, 16) };
	const time_t end = time(NULL) + (getenv("FULL") ? 600 : 0);
	unsigned resets = 0;

	assert_int_equal(pthread_create(&f.thread, NULL, flip_run, &f), 0);
	for (unsigned i = 0;
	     (i < 50000 && resets < 100) || atomic_load(&f.rounds) < 1000 || time(NULL) < end;
	     i++) {
		fake_queue_set_avail_idx(&rig->drv[0], rig->drv[0].avail_idx + 1 + i % 5);
		rig_ring(rig->kick_fd[0]);
		usleep(20);
		if (!atomic_load(&rig->status))
			continue;
		assert_int_equal(rig_send(rig, BLK_CMD_RESET), 0);
		atomic_store(&rig->status, 0);
		fake_queue_reset(&rig->drv[0]);
		assert_int_equal(rig_start(rig), 0);
		resets++;
	}
	f.stop = true;
	pthread_join(f.thread, NULL);
	assert_true(resets > 10);
	expect_recovery(rig);
	rig_free(rig);
}
#endif

/* One disk's ring breaks again and again; the other, and its thread, do not notice. */
static void a_disk_that_breaks_again_and_again_harms_no_other(void **state)
{
	struct rig *good = rig_new((struct rig_config){ .features = F_EVENT, .dir = "/dev/shm" });
	struct rig *bad = rig_new((struct rig_config){ .features = F_EVENT, .dir = "/dev/shm" });
	struct driver *d = driver_new(good, 0, 16, 20000);
	unsigned breaks = 0;
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, drive, d), 0);
	while (!d->finished || breaks < 20) {
		fake_queue_set_avail_idx(&bad->drv[0], 1000);
		rig_ring(bad->kick_fd[0]);
		expect_needs_reset(bad);
		expect_recovery(bad);
		bad->guest.next = bad->guest.base + (8 << 20); /* its requests' memory, again */
		breaks++;
	}
	pthread_join(thread, NULL);
	assert_null(d->error);
	assert_int_equal(atomic_load(&good->status), 0);
	assert_int_equal(rig_stat(&blk_dataplane_stats(good->dp)->errors), 0);
	free(d);
	rig_free(bad);
	rig_free(good);
}

static void other_queues_of_a_broken_device_stop_too(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ .nqueues = 2 });
	struct rig_req r = rig_req(rig, 512);
	struct fake_done done;

	fake_queue_set_avail_idx(&rig->drv[1], 500);
	rig_ring(rig->kick_fd[1]);
	expect_needs_reset(rig);
	rig_queue(rig, 0, &r, VIRTIO_BLK_T_IN, 0, 512, 0);
	rig_kick(rig, 0);
	usleep(20000);
	assert_false(fake_queue_poll(&rig->drv[0], &done));
	fake_queue_reset(&rig->drv[1]);
	expect_recovery(rig);
	rig_free(rig);
}

/* ---- suppression ----------------------------------------------------------------------------- */

/* A second vCPU that says all the time, and never the truth, when it wants an interrupt. */
struct liar {
	pthread_t thread;
	struct fake_queue *q;
	_Atomic bool stop;
};

static void *lie(void *arg)
{
	struct liar *liar = arg;
	uint64_t x = 88172645463325252ULL;

	while (!liar->stop) {
		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
		guest_store16(fake_queue_used_event(liar->q), x);
		guest_store16(&liar->q->avail->flags, x >> 16 & 3);
	}
	return NULL;
}

static void poll_for(struct rig *rig, struct fake_done *done)
{
	for (unsigned i = 0; !fake_queue_poll(&rig->drv[0], done); i++) {
		if (i > 100)
			usleep(100);
		if (i > RIG_WAIT_MS * 10)
			fail_msg("a completion was lost");
	}
}

static void lie_about_interrupts(uint64_t features)
{
	struct rig *rig = rig_new((struct rig_config){ .dir = "/dev/shm", .features = features });
	struct liar liar = { .q = &rig->drv[0] };
	struct rig_req r = rig_req(rig, 512);
	struct fake_done done;

	assert_int_equal(pthread_create(&liar.thread, NULL, lie, &liar), 0);
	for (unsigned i = 0; i < 3000; i++) {
		for (unsigned n = 0; n <= i % 4; n++)
			assert_true(rig_queue(rig, 0, &r, VIRTIO_BLK_T_IN, i, 512, n) >= 0);
		rig_kick(rig, 0);
		for (unsigned n = 0; n <= i % 4; n++)
			poll_for(rig, &done);
		assert_int_equal(*(uint8_t *)rig_ptr(rig, r.data), (uint8_t)(i / 8));
	}
	liar.stop = true;
	pthread_join(liar.thread, NULL);
	assert_int_equal(rig_stat(&blk_dataplane_stats(rig->dp)->errors), 0);
	guest_store16(&rig->drv[0].avail->flags, 0);
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
	rig_free(rig);
}

static void H20_whatever_the_driver_says_of_interrupts_nothing_is_lost(void **state)
{
	lie_about_interrupts(0);
	lie_about_interrupts(F_EVENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_broken_ring_stops_the_device_until_reset),
		cmocka_unit_test(H4_a_head_offered_again_while_in_flight_stops_the_device),
		cmocka_unit_test(H11_reads_over_the_ring_itself_do_no_harm),
#ifndef MVMM_TSAN
		cmocka_unit_test(H12_nothing_read_twice_can_be_turned_against_us),
#endif
		cmocka_unit_test(other_queues_of_a_broken_device_stop_too),
		cmocka_unit_test(a_disk_that_breaks_again_and_again_harms_no_other),
		cmocka_unit_test(H20_whatever_the_driver_says_of_interrupts_nothing_is_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
