/* SPDX-License-Identifier: Apache-2.0 */
/* Giving chains back: used elements, interrupts and kicks that are wanted or not, and both sides at
 * once. */
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "tests/unit/virtqueue_rig.h"
#include "virtio/barrier.h"

/* ---- push and publish ------------------------------------------------------------------------ */

static void complete_one(struct rig *rig, uint32_t written)
{
	offer_one(rig, 1);
	assert_int_equal(pop(rig), 1);
	virtq_push(&rig->vq, rig->chain.head, written);
}

static void push_is_seen_only_after_publish(void **state)
{
	struct rig *rig = rig_new(8, 0);
	struct fake_done done;

	complete_one(rig, 11);
	complete_one(rig, 22);
	assert_false(fake_queue_poll(&rig->drv, &done));
	assert_int_equal(rig->vq.in_flight, 0);
	assert_true(virtq_publish(&rig->vq));
	assert_int_equal(rig->drv.used->idx, 2);
	assert_true(fake_queue_poll(&rig->drv, &done));
	assert_int_equal(done.len, 11);
	assert_true(fake_queue_poll(&rig->drv, &done));
	assert_int_equal(done.len, 22);
	assert_false(fake_queue_poll(&rig->drv, &done));
	rig_free(rig);
}

static void completions_may_come_in_any_order(void **state)
{
	struct rig *rig = rig_new(8, 0);
	struct fake_done done;
	int a = offer_one(rig, 1), b = offer_one(rig, 2);

	assert_int_equal(pop(rig), 1);
	assert_int_equal(pop(rig), 1);
	virtq_push(&rig->vq, b, 2);
	virtq_push(&rig->vq, a, 1);
	virtq_publish(&rig->vq);
	assert_true(fake_queue_poll(&rig->drv, &done));
	assert_int_equal(done.head, b);
	assert_int_equal(done.cookie, 2);
	assert_true(fake_queue_poll(&rig->drv, &done));
	assert_int_equal(done.head, a);
	rig_free(rig);
}

static void publish_of_nothing_wants_no_interrupt(void **state)
{
	struct rig *rig = rig_new(8, 0);

	assert_false(virtq_publish(&rig->vq));
	complete_one(rig, 0);
	assert_true(virtq_publish(&rig->vq));
	assert_false(virtq_publish(&rig->vq));
	rig_free(rig);
}

static void publish_obeys_no_interrupt(void **state)
{
	struct rig *rig = rig_new(8, 0);
	struct fake_done done;

	fake_queue_disable_interrupts(&rig->drv);
	complete_one(rig, 0);
	assert_false(virtq_publish(&rig->vq));
	assert_true(fake_queue_enable_interrupts(&rig->drv, 0));
	assert_true(fake_queue_poll(&rig->drv, &done));
	complete_one(rig, 0);
	assert_true(virtq_publish(&rig->vq));
	rig_free(rig);
}

static void event_idx_interrupts_once_when_used_event_is_passed(void **state)
{
	struct rig *rig = rig_new(8, F_EVENT);

	assert_false(fake_queue_enable_interrupts(&rig->drv, 2)); /* at the third */
	for (unsigned i = 0; i < 6; i++) {
		complete_one(rig, 0);
		assert_int_equal(virtq_publish(&rig->vq), i == 2);
	}
	rig_free(rig);
}

static void event_idx_interrupts_when_a_batch_passes_used_event(void **state)
{
	struct rig *rig = rig_new(8, F_EVENT);

	fake_queue_enable_interrupts(&rig->drv, 2);
	for (unsigned i = 0; i < 5; i++)
		complete_one(rig, 0);
	assert_true(virtq_publish(&rig->vq));
	complete_one(rig, 0);
	assert_false(virtq_publish(&rig->vq));
	rig_free(rig);
}

static void event_idx_ignores_the_flags_word(void **state)
{
	struct rig *rig = rig_new(8, F_EVENT);

	rig->drv.avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
	complete_one(rig, 0);
	assert_true(virtq_publish(&rig->vq));
	virtq_disable_notify(&rig->vq);
	assert_int_equal(rig->drv.used->flags, 0);
	rig_free(rig);
}

/* ---- kicks ----------------------------------------------------------------------------------- */

static bool kicks(struct rig *rig)
{
	fake_queue_add(&rig->drv, &(struct fake_buf){ BUFFER, 1, 0 }, 1, 0);
	return fake_queue_publish(&rig->drv);
}

static void kicks_come_only_while_asked_for(void **state)
{
	for (unsigned event = 0; event < 2; event++) {
		struct rig *rig = rig_new(16, event ? F_EVENT : 0);

		assert_true(kicks(rig)); /* a fresh ring wants them */
		virtq_disable_notify(&rig->vq);
		assert_false(kicks(rig));
		assert_true(virtq_enable_notify(&rig->vq)); /* those two are still there */
		assert_int_equal(pop(rig), 1);
		assert_int_equal(pop(rig), 1);
		assert_false(virtq_enable_notify(&rig->vq));
		assert_true(kicks(rig));
		virtq_disable_notify(&rig->vq);
		assert_int_equal(pop(rig), 1);
		assert_false(kicks(rig));
		rig_free(rig);
	}
}

static void enable_notify_counts_a_jump_as_work(void **state)
{
	struct rig *rig = rig_new(8, F_EVENT);

	fake_queue_set_avail_idx(&rig->drv, 0x4000);
	assert_true(virtq_enable_notify(&rig->vq));
	assert_int_equal(pop(rig), -EPROTO);
	rig_free(rig);
}

/* ---- both sides at once: no lost kick, no lost interrupt ------------------------------------- */

#define ROUNDS 5000

struct machine {
	struct rig *rig;
	int kick, irq;
};

static bool wait_for(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	uint64_t n;

	return poll(&pfd, 1, 10000) == 1 && read(fd, &n, sizeof(n)) == sizeof(n);
}

static void ring_bell(int fd)
{
	const uint64_t one = 1;

	assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
}

static void *device_thread(void *arg)
{
	struct machine *m = arg;
	struct virtqueue *vq = &m->rig->vq;
	static struct desc_chain chain;
	unsigned done = 0;

	while (done < ROUNDS) {
		virtq_disable_notify(vq);
		do {
			while (virtq_pop(vq, &chain) == 1) {
				*(uint8_t *)chain.iov[0].iov_base ^= 0xff;
				virtq_push(vq, chain.head, 1);
				done++;
			}
			if (virtq_publish(vq))
				ring_bell(m->irq);
		} while (virtq_enable_notify(vq));
		if (done < ROUNDS && !wait_for(m->kick))
			return "lost kick";
	}
	return NULL;
}

static const char *drive(struct machine *m)
{
	struct fake_queue *drv = &m->rig->drv;
	unsigned sent = 0, got = 0;
	struct fake_done done;

	while (got < ROUNDS) {
		/* One to four at a time, so that both sides often run dry. */
		for (unsigned n = 1 + sent % 4; n && sent < ROUNDS && drv->nfree; n--, sent++) {
			*(uint8_t *)fake_guest_ptr(&m->rig->guest, BUFFER + drv->free_head) = sent;
			fake_queue_add(drv, &(struct fake_buf){ BUFFER + drv->free_head, 1, W }, 1,
				       sent);
		}
		if (fake_queue_publish(drv))
			ring_bell(m->kick);
		fake_queue_disable_interrupts(drv);
		do {
			while (fake_queue_poll(drv, &done)) {
				uint8_t *p = fake_guest_ptr(&m->rig->guest, BUFFER + done.head);

				if (*p != (uint8_t)~done.cookie || done.len != 1)
					return "wrong data";
				got++;
			}
		} while (fake_queue_enable_interrupts(drv, 0));
		if (got < sent && !wait_for(m->irq))
			return "lost interrupt";
	}
	return NULL;
}

static void run_both_sides(uint64_t features)
{
	struct machine m = { rig_new(8, features), eventfd(0, EFD_CLOEXEC),
			     eventfd(0, EFD_CLOEXEC) };
	pthread_t thread;
	const char *bad;
	void *ret;

	assert_int_equal(pthread_create(&thread, NULL, device_thread, &m), 0);
	bad = drive(&m);
	pthread_join(thread, &ret);
	assert_null(bad);
	assert_null(ret);
	close(m.kick);
	close(m.irq);
	rig_free(m.rig);
}

/*
 * The two races at their narrowest: both sides store their own word and look at the other's at the
 * same moment, again and again. One of them must have seen the other. Without any one of the four
 * fences this fails on x86 within these rounds, nearly always.
 */
#define RACES 50000

struct race {
	struct rig *rig;
	_Atomic unsigned turn[2]; /* how far each side is */
	bool device_saw_work, driver_kicked;
	bool device_signalled, driver_saw_done;
};

static void meet(struct race *race, unsigned me, unsigned turn)
{
	atomic_store(&race->turn[me], turn);
	for (unsigned spins = 0; atomic_load(&race->turn[!me]) < turn; spins++)
		if (spins > 1000)
			sched_yield(); /* one CPU only, or somebody else on it */
}

static void *race_device(void *arg)
{
	struct race *race = arg;
	struct virtqueue *vq = &race->rig->vq;
	static struct desc_chain chain;

	for (unsigned i = 0; i < RACES; i++) {
		virtq_disable_notify(vq);
		meet(race, 0, 3 * i + 1);
		race->device_saw_work = virtq_enable_notify(vq);
		meet(race, 0, 3 * i + 2);
		virtq_pop(vq, &chain);
		virtq_push(vq, chain.head, 0);
		race->device_signalled = virtq_publish(vq);
		meet(race, 0, 3 * i + 3);
	}
	return NULL;
}

static unsigned race_driver(struct race *race)
{
	struct fake_queue *drv = &race->rig->drv;
	struct fake_done done;
	unsigned lost = 0;

	for (unsigned i = 0; i < RACES; i++) {
		fake_queue_add(drv, &(struct fake_buf){ BUFFER, 1, 0 }, 1, 0);
		fake_queue_disable_interrupts(drv);
		meet(race, 1, 3 * i + 1);
		race->driver_kicked = fake_queue_publish(drv);
		meet(race, 1, 3 * i + 2);
		lost += !race->device_saw_work && !race->driver_kicked;
		race->driver_saw_done = fake_queue_enable_interrupts(drv, 0);
		meet(race, 1, 3 * i + 3);
		lost += !race->device_signalled && !race->driver_saw_done;
		fake_queue_poll(drv, &done);
	}
	return lost;
}

static void run_race(uint64_t features)
{
	struct race race = { .rig = rig_new(8, features) };
	pthread_t thread;
	unsigned lost;

	assert_int_equal(pthread_create(&thread, NULL, race_device, &race), 0);
	lost = race_driver(&race);
	pthread_join(thread, NULL);
	assert_int_equal(lost, 0);
	assert_int_equal(race.rig->vq.last_avail, (uint16_t)RACES);
	rig_free(race.rig);
}

static void one_side_always_sees_the_other(void **state)
{
	run_race(0);
}

static void one_side_always_sees_the_other_with_event_idx(void **state)
{
	run_race(F_EVENT);
}

static void nothing_is_lost_between_two_threads(void **state)
{
	run_both_sides(0);
}

static void nothing_is_lost_between_two_threads_with_event_idx(void **state)
{
	run_both_sides(F_EVENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(push_is_seen_only_after_publish),
		cmocka_unit_test(completions_may_come_in_any_order),
		cmocka_unit_test(publish_of_nothing_wants_no_interrupt),
		cmocka_unit_test(publish_obeys_no_interrupt),
		cmocka_unit_test(event_idx_interrupts_once_when_used_event_is_passed),
		cmocka_unit_test(event_idx_interrupts_when_a_batch_passes_used_event),
		cmocka_unit_test(event_idx_ignores_the_flags_word),
		cmocka_unit_test(kicks_come_only_while_asked_for),
		cmocka_unit_test(enable_notify_counts_a_jump_as_work),
		cmocka_unit_test(one_side_always_sees_the_other),
		cmocka_unit_test(one_side_always_sees_the_other_with_event_idx),
		cmocka_unit_test(nothing_is_lost_between_two_threads),
		cmocka_unit_test(nothing_is_lost_between_two_threads_with_event_idx),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
