/* SPDX-License-Identifier: Apache-2.0 */
/* Commands to a disk's thread under full load, from vCPUs and from main at the same time. */
#include "tests/dataplane/driver.h"
#include "tests/dataplane/rig.h"

static void send(struct rig *rig, struct blk_command cmd)
{
	assert_int_equal(blk_dataplane_send(rig->dp, &cmd, -1, RIG_WAIT_MS), 0);
}

static void send_wce(struct rig *rig, bool writeback)
{
	send(rig, (struct blk_command){ .type = BLK_CMD_SET_WCE, .writeback = writeback });
}

struct load {
	struct driver *d[RIG_QUEUES];
	pthread_t thread[RIG_QUEUES];
};

static void load_begin(struct load *load, struct rig *rig, unsigned depth, unsigned requests)
{
	for (unsigned q = 0; q < rig->config.nqueues; q++)
		load->d[q] = driver_new(rig, q, depth, requests);
	for (unsigned q = 0; q < rig->config.nqueues; q++)
		assert_int_equal(pthread_create(&load->thread[q], NULL, drive, load->d[q]), 0);
}

static bool load_running(const struct load *load, const struct rig *rig)
{
	for (unsigned q = 0; q < rig->config.nqueues; q++)
		if (!load->d[q]->finished)
			return true;
	return false;
}

static void load_end(struct load *load, struct rig *rig)
{
	for (unsigned q = 0; q < rig->config.nqueues; q++)
		pthread_join(load->thread[q], NULL);
	for (unsigned q = 0; q < rig->config.nqueues; q++) {
		if (load->d[q]->error)
			fail_msg("queue %u: %s", q, load->d[q]->error);
		free(load->d[q]);
	}
}

static void pause_storm(struct rig_config config)
{
	struct rig *rig = rig_new(config);
	struct load load;

	load_begin(&load, rig, 16, 1500);
	for (unsigned i = 0; load_running(&load, rig); i++) {
		assert_int_equal(rig_send(rig, BLK_CMD_PAUSE), 0);
		send_wce(rig, i % 2);
		assert_int_equal(rig_send(rig, BLK_CMD_RESUME), 0);
		usleep(i % 7 * 50);
	}
	load_end(&load, rig);
	rig_free(rig);
}

static void no_request_is_lost_in_a_storm_of_pauses(void **state)
{
	pause_storm((struct rig_config){ .features = F_EVENT, .dir = "/dev/shm" });
	pause_storm((struct rig_config){ .nqueues = 2, .features = F_INDIRECT, .no_look = true });
	pause_storm((struct rig_config){
		.aio = DISK_AIO_THREADS, .cache = DISK_CACHE_WRITEBACK, .features = F_EVENT });
}

/* A write that a reset cut off happened or did not: each page of the image is whole, and what was
 * completed is there. */
static void check_pages(struct rig *rig, unsigned n, const uint32_t *done, const uint32_t *sent)
{
	uint32_t page[1024];

	for (unsigned i = 0; i < n; i++) {
		rig_peek(rig, 4096 * i, page, sizeof(page));
		for (unsigned k = 1; k < 1024; k++)
			assert_int_equal(page[k], page[0]);
		if (page[0] != sent[i])
			assert_true(page[0] >= done[i]);
	}
}

static void reset_storm(struct rig_config config, unsigned rounds)
{
	struct rig *rig = rig_new(config);
	uint32_t done[16] = { 0 }, sent[16] = { 0 };
	struct rig_req r[16];
	struct fake_done d;
	uint64_t count;

	for (unsigned i = 0; i < 16; i++)
		r[i] = rig_req(rig, 4096);
	for (uint32_t round = 0x10000; round < 0x10000 + rounds; round++) {
		for (unsigned i = 0; i < 16; i++) {
			uint32_t *page = rig_ptr(rig, r[i].data);

			for (unsigned k = 0; k < 1024; k++)
				page[k] = round;
			rig_queue(rig, 0, &r[i], VIRTIO_BLK_T_OUT, 8 * i, 4096, i);
			sent[i] = round;
		}
		rig_kick(rig, 0);
		usleep(round % 5 * 60);
		while (fake_queue_poll(&rig->drv[0], &d))
			done[d.cookie] = round;
		assert_int_equal(rig_send(rig, BLK_CMD_RESET), 0);
		/* The memory is the guest's again. */
		memset(rig_ptr(rig, r[0].data), 0xdd, 4096);
		memset(rig_ptr(rig, r[15].data), 0xdd, 4096);
		fake_queue_reset(&rig->drv[0]);
		while (read(rig->irq_fd[0], &count, sizeof(count)) > 0)
			;
		assert_int_equal(rig_start(rig), 0);
	}
	assert_false(atomic_load(&rig->status));
	check_pages(rig, 16, done, sent);
	rig_free(rig);
}

struct pauser {
	pthread_t thread;
	struct rig *rig;
	_Atomic bool stop;
	int result;
};

static void *pause_and_resume(void *arg)
{
	struct pauser *p = arg;

	for (unsigned i = 0; !p->stop && !p->result; i++) {
		p->result = rig_send(p->rig, BLK_CMD_PAUSE);
		usleep(i % 5 * 40);
		p->result |= rig_send(p->rig, BLK_CMD_RESUME);
	}
	return NULL;
}

/* A vCPU's commands and main's at the same time. */
static void resets_and_pauses_are_answered_in_any_order(void **state)
{
	struct rig *rig = rig_new((struct rig_config){ .features = F_EVENT, .dir = "/dev/shm" });
	struct rig_req r = rig_req(rig, 4096);
	struct pauser p = { .rig = rig };

	assert_int_equal(pthread_create(&p.thread, NULL, pause_and_resume, &p), 0);
	for (unsigned round = 0; round < 400; round++) {
		for (unsigned i = 0; i < 8; i++)
			rig_queue(rig, 0, &r, VIRTIO_BLK_T_OUT, 8 * i, 4096, i);
		rig_kick(rig, 0);
		usleep(round % 7 * 30);
		assert_int_equal(rig_send(rig, BLK_CMD_RESET), 0);
		memset(rig_ptr(rig, r.data), round, 4096);
		fake_queue_reset(&rig->drv[0]);
		assert_int_equal(rig_start(rig), 0);
		send_wce(rig, round % 2);
	}
	p.stop = true;
	pthread_join(p.thread, NULL);
	assert_int_equal(p.result, 0);
	assert_int_equal(rig_do(rig, &r, VIRTIO_BLK_T_IN, 0, 4096), VIRTIO_BLK_S_OK);
	rig_free(rig);
}

static void a_storm_of_resets_leaves_whole_pages(void **state)
{
	reset_storm((struct rig_config){ .features = F_EVENT, .dir = "/dev/shm" }, 400);
	reset_storm((struct rig_config){ .no_look = true }, 100);
	reset_storm((struct rig_config){ .aio = DISK_AIO_THREADS, .features = F_INDIRECT }, 200);
}

/* Every command of main's there is, as fast as they are answered. The drivers use the first half of
 * the disk, and the disk is never smaller. */
static void command_storm(struct rig_config config)
{
	struct rig *rig = rig_new(config);
	const struct throttle_limits none = { 0 }, some = { .of[THROTTLE_IOPS].rate = 200000 };
	struct load load;

	for (unsigned q = 0; q < config.nqueues; q++)
		load.d[q] = driver_new(rig, q, 16, 1500);
	for (unsigned q = 0; q < config.nqueues; q++) {
		load.d[q]->n /= 2;
		load.d[q]->first = q * load.d[q]->n;
		assert_int_equal(pthread_create(&load.thread[q], NULL, drive, load.d[q]), 0);
	}
	for (unsigned i = 0; load_running(&load, rig); i++) {
		send(rig, (struct blk_command){ .type = BLK_CMD_RESIZE,
						.size = i % 2 ? RIG_SIZE : RIG_SIZE / 2 });
		send(rig, (struct blk_command){ .type = BLK_CMD_SET_ON_ERROR, .on_error = i % 3 });
		send(rig, (struct blk_command){ .type = BLK_CMD_THROTTLE,
						.throttle = i % 4 ? none : some });
		send_wce(rig, i % 5);
		if (i % 3 == 0)
			send(rig, (struct blk_command){ .type = BLK_CMD_PAUSE });
		usleep(i % 7 * 30);
		send(rig, (struct blk_command){ .type = BLK_CMD_RESUME });
	}
	load_end(&load, rig);
	rig_free(rig);
}

static void no_request_is_lost_in_a_storm_of_all_commands(void **state)
{
	command_storm((struct rig_config){ .nqueues = 2, .features = F_EVENT });
	command_storm((struct rig_config){ .nqueues = 1,
					   .aio = DISK_AIO_THREADS,
					   .cache = DISK_CACHE_WRITEBACK,
					   .no_look = true,
					   .features = F_EVENT | F_INDIRECT });
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_request_is_lost_in_a_storm_of_pauses),
		cmocka_unit_test(a_storm_of_resets_leaves_whole_pages),
		cmocka_unit_test(resets_and_pauses_are_answered_in_any_order),
		cmocka_unit_test(no_request_is_lost_in_a_storm_of_all_commands),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
