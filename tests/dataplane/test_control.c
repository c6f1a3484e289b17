/* SPDX-License-Identifier: Apache-2.0 */
/* Commands to a disk's thread: start, pause, resume, reset, end; quiet and with I/O in flight. */
#include <poll.h>

#include "tests/dataplane/rig.h"
#include "tests/dataplane/slow.h"

/* A command sent by a thread of its own, as a vCPU would. */
struct sender {
	pthread_t thread;
	struct rig *rig;
	enum blk_command_type type;
	int stop_fd, timeout_ms;
	int result;
	_Atomic bool done;
};

static void *send_run(void *arg)
{
	struct sender *s = arg;
	const struct blk_command cmd = { .type = s->type };

	s->result = blk_dataplane_send(s->rig->dp, &cmd, s->stop_fd, s->timeout_ms);
	s->done = true;
	return NULL;
}

static void send_begin(struct sender *s, struct rig *rig, enum blk_command_type type)
{
	*s = (struct sender){ .rig = rig, .type = type, .stop_fd = -1, .timeout_ms = RIG_WAIT_MS };
	assert_int_equal(pthread_create(&s->thread, NULL, send_run, s), 0);
}

static int send_end(struct sender *s)
{
	pthread_join(s->thread, NULL);
	return s->result;
}

/* Every other page: neighbours would be merged. */
static struct rig_req queue_held_read(struct rig *rig, uint64_t cookie)
{
	struct rig_req r = rig_req(rig, 4096);

	memset(rig_ptr(rig, r.data), 0x77, 4096);
	assert_true(rig_queue(rig, 0, &r, VIRTIO_BLK_T_IN, 16 * cookie, 4096, cookie) >= 0);
	rig_kick(rig, 0);
	return r;
}

/* H22: the guest's register write returns only when the kernel writes no guest page any more. */
static void drains(enum blk_command_type type)
{
	struct rig *rig = rig_new((struct rig_config){ 0 });
	struct rig_req r[8];
	struct sender s;

	hold_io(true);
	for (unsigned i = 0; i < 8; i++)
		r[i] = queue_held_read(rig, i);
	wait_held(8);
	send_begin(&s, rig, type);
	usleep(30000);
	assert_false(s.done);
	release_held();
	assert_int_equal(send_end(&s), 0);
	for (unsigned i = 0; i < 8; i++) {
		assert_int_equal(((uint8_t *)rig_ptr(rig, r[i].data))[0], 2 * i);
		memset(rig_ptr(rig, r[i].data), 0x99, 4096);
	}
	usleep(10000);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(((uint8_t *)rig_ptr(rig, r[i].data))[0], 0x99);
	rig_free(rig);
}

static void reset_waits_for_what_is_in_flight(void **state)
{
	drains(BLK_CMD_RESET);
}

static bool is_all(const uint8_t *p, uint8_t byte, size_t len)
{
	return p[0] == byte && !memcmp(p, p + 1, len - 1);
}

/* As many as a disk takes, reads and writes. When the reset is answered, all of guest memory, rings
 * included, is the driver's to use for anything; and then for the same again. */
static void H22_after_a_reset_with_128_in_flight_all_memory_is_the_guests(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ .depth = 128, .queue_size = 512 });
	const gpa_t top = rig->guest.next;
	struct rig_req r[128];
	uint64_t count;
	struct sender s;

	for (unsigned round = 0; round < 3; round++) {
		hold_io(true);
		rig->guest.next = top;
		for (unsigned i = 0; i < 128; i++) {
			r[i] = rig_req(rig, 4096);
			memset(rig_ptr(rig, r[i].data), 0x40 + round, 4096);
			rig_queue(rig, 0, &r[i], i % 2 ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN, 8 * i,
				  4096, i);
		}
		rig_kick(rig, 0);
		wait_held(128);
		send_begin(&s, rig, BLK_CMD_RESET);
		usleep(10000);
		assert_false(s.done);
		release_held();
		assert_int_equal(send_end(&s), 0);
		while (read(rig->irq_fd[0], &count, sizeof(count)) > 0)
			;
		memset(rig->guest.ram, 0x99, rig->guest.size);
		usleep(10000);
		assert_true(is_all(rig->guest.ram, 0x99, rig->guest.size));
		assert_int_equal(read(rig->irq_fd[0], &count, sizeof(count)), -1);
		fake_queue_reset(&rig->drv[0]);
		assert_int_equal(rig_start(rig), 0);
		for (unsigned i = 0; i < 128; i++) {
			assert_int_equal(rig_do(rig, &r[i], VIRTIO_BLK_T_IN, 8 * i, 4096),
					 VIRTIO_BLK_S_OK);
			assert_true(
				is_all(rig_ptr(rig, r[i].data), i % 2 ? 0x40 + round : i, 4096));
		}
		assert_int_equal(rig_send(rig, BLK_CMD_RESET), 0);
		fake_queue_reset(&rig->drv[0]);
		assert_int_equal(rig_start(rig), 0);
	}
	assert_int_equal(atomic_load(&rig->status), 0);
	rig_free(rig);
}

static void pause_waits_for_what_is_in_flight(void **state)
{
	drains(BLK_CMD_PAUSE);
}

static void what_is_in_flight_at_a_pause_is_completed(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ 0 });
	struct fake_done done;
	struct sender s;

	hold_io(true);
	queue_held_read(rig, 3);
	wait_held(1);
	send_begin(&s, rig, BLK_CMD_PAUSE);
	release_held();
	assert_int_equal(send_end(&s), 0);
	assert_true(fake_queue_poll(&rig->drv[0], &done));
	assert_int_equal(done.cookie, 3);
	rig_free(rig);
}

static void nothing_is_taken_while_paused(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ .features = F_EVENT });
	struct fake_done done;

	assert_int_equal(rig_send(rig, BLK_CMD_PAUSE), 0);
	assert_int_equal(rig_send(rig, BLK_CMD_PAUSE), 0);
	queue_held_read(rig, 1);
	rig_ring(rig->kick_fd[0]);
	usleep(20000);
	assert_false(fake_queue_poll(&rig->drv[0], &done));
	assert_int_equal(rig_send(rig, BLK_CMD_RESUME), 0);
	assert_true(rig_wait(rig, 0, &done));
	rig_free(rig);
}

static void a_pause_outlasts_reset_and_start(void **state)
{
	struct rig *rig = rig_new_stopped((struct rig_config){ 0 });
	struct fake_done done;

	assert_int_equal(rig_send(rig, BLK_CMD_PAUSE), 0);
	assert_int_equal(rig_send(rig, BLK_CMD_RESET), 0);
	assert_int_equal(rig_start(rig), 0);
	queue_held_read(rig, 1);
	usleep(20000);
	assert_false(fake_queue_poll(&rig->drv[0], &done));
	assert_int_equal(rig_send(rig, BLK_CMD_RESUME), 0);
	assert_true(rig_wait(rig, 0, &done));
	rig_free(rig);
}

static void a_second_start_is_refused(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ 0 });
	struct rig_req r = rig_req(rig, 512);

	assert_int_equal(rig_start(rig), -EBUSY);
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
	rig_free(rig);
}

static void a_bad_queue_refuses_the_start_and_leaves_nothing(void **state)
{
	struct rig *rig = rig_new_stopped((struct rig_config){ .nqueues = 2 });
	struct rig_req r = rig_req(rig, 512);

	rig->drv[1].config.used += 1;
	assert_int_equal(rig_start(rig), -EINVAL);
	rig->drv[1].config.used -= 1;
	assert_int_equal(rig_start(rig), 0);
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
	rig_free(rig);
}

static void after_a_reset_nothing_is_served(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ 0 });
	struct fake_done done;

	assert_int_equal(rig_send(rig, BLK_CMD_RESET), 0);
	assert_int_equal(rig_send(rig, BLK_CMD_RESET), 0);
	queue_held_read(rig, 1);
	rig_ring(rig->kick_fd[0]);
	usleep(20000);
	assert_false(fake_queue_poll(&rig->drv[0], &done));
	rig_free(rig);
}

/* F10: storage does not answer; the VM must end all the same. */
static void the_end_of_the_vm_ends_every_wait(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ 0 });
	int stop_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	struct sender s = {
		.rig = rig, .type = BLK_CMD_RESET, .stop_fd = stop_fd, .timeout_ms = -1
	};

	hold_io(true);
	queue_held_read(rig, 1);
	wait_held(1);
	assert_int_equal(pthread_create(&s.thread, NULL, send_run, &s), 0);
	usleep(20000);
	assert_false(s.done);
	rig_ring(stop_fd);
	assert_int_equal(send_end(&s), -ECANCELED);
	/* The slot is still taken by the RESET that nobody waits for. */
	assert_int_equal(blk_dataplane_stop(rig->dp, 30), -ETIMEDOUT);
	assert_int_equal(blk_dataplane_stop(rig->dp, 30), -ETIMEDOUT);
	release_held();
	assert_int_equal(blk_dataplane_stop(rig->dp, RIG_WAIT_MS), 0);
	assert_int_equal(blk_dataplane_stop(rig->dp, RIG_WAIT_MS), 0);
	close(stop_fd);
	rig_free(rig);
}

/* Main first asks all disks, then waits for each. */
static void a_stop_that_gave_up_is_taken_up_by_the_next(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ 0 });

	hold_io(true);
	queue_held_read(rig, 1);
	wait_held(1);
	assert_int_equal(blk_dataplane_stop(rig->dp, 0), -ETIMEDOUT);
	assert_int_equal(blk_dataplane_stop(rig->dp, 20), -ETIMEDOUT);
	release_held();
	usleep(20000);
	assert_int_equal(blk_dataplane_stop(rig->dp, RIG_WAIT_MS), 0);
	rig_free(rig);
}

static void an_abandoned_command_does_not_answer_for_the_next(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ 0 });
	const struct blk_command pause = { .type = BLK_CMD_PAUSE };
	struct rig_req r = rig_req(rig, 512);
	struct fake_done done;
	struct sender s;

	hold_io(true);
	queue_held_read(rig, 1);
	wait_held(1);
	assert_int_equal(blk_dataplane_send(rig->dp, &pause, -1, 20), -ETIMEDOUT);
	send_begin(&s, rig, BLK_CMD_RESUME);
	usleep(20000);
	assert_false(s.done);
	release_held();
	assert_int_equal(send_end(&s), 0);
	assert_true(rig_wait(rig, 0, &done));
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
	rig_free(rig);
}

static int post(struct rig *rig, enum blk_command_type type)
{
	const struct blk_command cmd = { .type = type };

	return blk_dataplane_post(rig->dp, &cmd);
}

/* As main's loop does. */
static int await_answer(struct rig *rig)
{
	struct pollfd pfd = { .fd = blk_dataplane_answer_fd(rig->dp), .events = POLLIN };
	int result = -ETIMEDOUT;

	while (blk_dataplane_answer(rig->dp, &result) == -EAGAIN && poll(&pfd, 1, RIG_WAIT_MS) > 0)
		;
	return result;
}

static void control_waits_for_no_storage(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ 0 });
	struct fake_done done;
	int result;

	hold_io(true);
	queue_held_read(rig, 1);
	wait_held(1);
	assert_int_equal(post(rig, BLK_CMD_PAUSE), 0);
	assert_int_equal(blk_dataplane_answer(rig->dp, &result), -EAGAIN);
	assert_int_equal(post(rig, BLK_CMD_RESUME), -EBUSY);
	release_held();
	assert_int_equal(await_answer(rig), 0);
	assert_true(fake_queue_poll(&rig->drv[0], &done));
	assert_int_equal(post(rig, BLK_CMD_RESUME), 0);
	assert_int_equal(await_answer(rig), 0);
	rig_free(rig);
}

/* Else a vCPU that resets its disk would wait for main, and main perhaps for that vCPU. */
static void a_reset_passes_a_pause_that_waits(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ 0 });
	struct rig_req r = rig_req(rig, 512);
	struct sender s;
	int result;

	hold_io(true);
	queue_held_read(rig, 1);
	wait_held(1);
	assert_int_equal(post(rig, BLK_CMD_PAUSE), 0);
	send_begin(&s, rig, BLK_CMD_RESET);
	usleep(20000);
	assert_false(s.done);
	assert_int_equal(blk_dataplane_answer(rig->dp, &result), -EAGAIN);
	release_held();
	assert_int_equal(send_end(&s), 0);
	assert_int_equal(await_answer(rig), 0);
	fake_queue_reset(&rig->drv[0]);
	assert_int_equal(rig_start(rig), 0);
	assert_int_equal(post(rig, BLK_CMD_RESUME), 0);
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
	assert_int_equal(await_answer(rig), 0);
	rig_free(rig);
}

static void who_comes_after_the_end_is_told_so(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ 0 });

	assert_int_equal(blk_dataplane_stop(rig->dp, RIG_WAIT_MS), 0);
	assert_int_equal(rig_send(rig, BLK_CMD_RESET), -ESHUTDOWN);
	assert_int_equal(rig_start(rig), -ESHUTDOWN);
	assert_int_equal(post(rig, BLK_CMD_RESUME), -ESHUTDOWN);
	rig_free(rig);
}

static void send_wce(struct rig *rig, bool writeback)
{
	const struct blk_command cmd = { .type = BLK_CMD_SET_WCE, .writeback = writeback };

	assert_int_equal(blk_dataplane_send(rig->dp, &cmd, -1, RIG_WAIT_MS), 0);
}

/* F25 */
static void writes_are_durable_when_the_driver_cannot_flush(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ .writethrough = true });
	struct rig_req r = rig_req(rig, 512);

	take_durable();
	rig_do(rig, &r, VIRTIO_BLK_T_OUT, 0, 512);
	rig_do(rig, &r, VIRTIO_BLK_T_IN, 0, 512);
	assert_int_equal(take_durable(), 1);
	send_wce(rig, true);
	rig_do(rig, &r, VIRTIO_BLK_T_OUT, 0, 512);
	assert_int_equal(take_durable(), 0);
	send_wce(rig, false);
	rig_do(rig, &r, VIRTIO_BLK_T_OUT, 0, 512);
	assert_int_equal(take_durable(), 1);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reset_waits_for_what_is_in_flight),
		cmocka_unit_test(H22_after_a_reset_with_128_in_flight_all_memory_is_the_guests),
		cmocka_unit_test(pause_waits_for_what_is_in_flight),
		cmocka_unit_test(what_is_in_flight_at_a_pause_is_completed),
		cmocka_unit_test(nothing_is_taken_while_paused),
		cmocka_unit_test(a_pause_outlasts_reset_and_start),
		cmocka_unit_test(a_second_start_is_refused),
		cmocka_unit_test(a_bad_queue_refuses_the_start_and_leaves_nothing),
		cmocka_unit_test(after_a_reset_nothing_is_served),
		cmocka_unit_test(the_end_of_the_vm_ends_every_wait),
		cmocka_unit_test(a_stop_that_gave_up_is_taken_up_by_the_next),
		cmocka_unit_test(an_abandoned_command_does_not_answer_for_the_next),
		cmocka_unit_test(control_waits_for_no_storage),
		cmocka_unit_test(a_reset_passes_a_pause_that_waits),
		cmocka_unit_test(who_comes_after_the_end_is_told_so),
		cmocka_unit_test(writes_are_durable_when_the_driver_cannot_flush),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
