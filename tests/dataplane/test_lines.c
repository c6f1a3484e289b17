/* SPDX-License-Identifier: Apache-2.0 */
/* Queues that share one interrupt: virtio-mmio has one for all, and so has a PCI driver that was
 * given few vectors. */
#include "tests/dataplane/rig.h"

/* A line whose reader is asleep: a full pipe, so that the disk's thread stops where it signals. */
static void make_stuck_line(int fd[2])
{
	static const uint8_t page[4096];

	assert_int_equal(pipe2(fd, O_CLOEXEC | O_NONBLOCK), 0);
	while (write(fd[1], page, sizeof(page)) > 0)
		;
	assert_int_equal(fcntl(fd[1], F_SETFL, 0), 0);
}

static void unstick(int fd[2])
{
	uint8_t page[4096];

	while (read(fd[0], page, sizeof(page)) > 0)
		;
}

static uint16_t used_idx(struct rig *rig, unsigned q)
{
	const struct vring_used *used = rig_ptr(rig, rig->drv[q].config.used);

	return __atomic_load_n(&used->idx, __ATOMIC_ACQUIRE);
}

static int start_with_one_line(struct rig *rig, int fd)
{
	struct blk_command cmd = { .type = BLK_CMD_START, .writeback = true, .config_line.fd = -1 };

	for (unsigned q = 0; q < rig->config.nqueues; q++) {
		cmd.queue[q].config = rig->drv[q].config;
		cmd.queue[q].line.fd = fd;
	}
	return blk_dataplane_send(rig->dp, &cmd, -1, RIG_WAIT_MS);
}

/* A driver that is interrupted looks at all queues of the line and goes to sleep again: what is
 * published after the interrupt, without another one, it never sees. */
static void queues_that_share_a_line_are_all_published_before_the_interrupt(void **state)
{
	struct rig *rig = rig_new_stopped((struct rig_config){ .nqueues = 3 });
	uint16_t seen[3];
	int line[2];

	make_stuck_line(line);
	for (unsigned q = 0; q < 3; q++) {
		const struct rig_req r = rig_req(rig, 20);

		assert_true(rig_queue(rig, q, &r, VIRTIO_BLK_T_GET_ID, 0, 20, q) >= 0);
		fake_queue_publish(&rig->drv[q]);
	}
	assert_int_equal(start_with_one_line(rig, line[1]), 0);
	for (unsigned i = 0; i < RIG_WAIT_MS && !used_idx(rig, 0); i++)
		usleep(1000);
	usleep(20000);
	for (unsigned q = 0; q < 3; q++)
		seen[q] = used_idx(rig, q);
	unstick(line);
	for (unsigned q = 0; q < 3; q++)
		assert_int_equal(seen[q], 1);
	assert_int_equal(rig_send(rig, BLK_CMD_RESET), 0);
	assert_int_equal(rig_stat(&blk_dataplane_stats(rig->dp)->interrupts), 1);
	close(line[0]);
	rig_free(rig);
	close(line[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(queues_that_share_a_line_are_all_published_before_the_interrupt),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
