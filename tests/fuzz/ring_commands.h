/* SPDX-License-Identifier: Apache-2.0 */
/* Commands to the device of the ring target, and what must be so when one is answered. */
#ifndef MVMM_TESTS_FUZZ_RING_COMMANDS_H
#define MVMM_TESTS_FUZZ_RING_COMMANDS_H

#include "tests/fuzz/ring_run.h"

static inline bool answered(const struct blk_mailbox *mb)
{
	return atomic_load(&mb->answered) == mb->posted;
}

static inline struct blk_mailbox *guests_mailbox(void)
{
	return &run.dp->mailbox[BLK_BOX_GUEST];
}

static inline bool control_is_busy(void)
{
	return !answered(&run.dp->mailbox[BLK_BOX_CONTROL]);
}

/* A request that a reset may forget: it has failed and is to be sent again, or waits for a limit. */
static inline bool is_parked(const struct flight *f)
{
	return (f->failed && model.keeps_failed) || (!f->sent && model.throttled);
}

/* After a reset the device holds nothing. */
static inline void forget(void)
{
	fuzz_check(engine_idle(), "a reset is over with I/O under way");
	check_memory();
	for (unsigned q = 0; q < MODEL_QUEUES; q++) {
		model.queue[q].vq = NULL;
		for (unsigned h = 0; h < MODEL_SIZE; h++) {
			const struct flight *f = &model.queue[q].flight[h];

			fuzz_check(!f->live || model.broken || is_parked(f),
				   "a reset is over without head %u of queue %u", h, q);
			model.queue[q].flight[h].live = false;
		}
	}
	model.broken = false;
	model.last_popped = NULL;
	atomic_store(&run.status, 0);
	memset(run.avail, 0, sizeof(run.avail));
	for (unsigned q = 0; q < run.nqueues; q++)
		guest_write(run.config[q].avail + 2, &run.avail[q], 2);
}

static inline void check_resized(uint64_t size)
{
	for (unsigned i = 0; i < engine.nio; i++)
		fuzz_check(engine.io[i].offset + iov_bytes(engine.io[i].iov, engine.io[i].niov) <=
				   size,
			   "the disk is smaller with I/O under way behind its end");
	model.size = size;
}

/* What an answer says must be so. */
static inline void check_answer(struct blk_mailbox *mb)
{
	if (!answered(mb))
		return;
	switch (mb->command.type) {
	case BLK_CMD_START:
		if (mb->result == -EBUSY)
			fuzz_check(run.dp->started, "a device is busy that is not started");
		else if (mb->result)
			forget();
		break;
	case BLK_CMD_RESET:
		if (!run.dp->started)
			forget();
		break;
	case BLK_CMD_PAUSE:
		fuzz_check(!run.dp->paused || engine_idle(), "paused with I/O under way");
		break;
	case BLK_CMD_THROTTLE:
		pace_changed(&mb->command.throttle);
		break;
	case BLK_CMD_RESIZE:
		check_resized(mb->command.size);
		break;
	case BLK_CMD_JOB_COMPLETE:
	case BLK_CMD_JOB_PIVOT:
	case BLK_CMD_JOB_SPEED:
	case BLK_CMD_JOB_CANCEL:
		fuzz_check(mb->result == -ENOENT, "a command to no job says %d", mb->result);
		break;
	default:
		break;
	}
	/* Once. */
	mb->command.type = BLK_CMD_RESUME;
}

static inline void check_answers(void)
{
	for (unsigned id = 0; id < BLK_BOX_COUNT; id++)
		check_answer(&run.dp->mailbox[id]);
}

static inline void post(const struct blk_command *cmd)
{
	const enum blk_mailbox_id id = blk_command_mailbox(cmd->type);
	struct blk_mailbox *mb = &run.dp->mailbox[id];

	if (!answered(mb))
		return;
	check_answer(mb);
	mb->command = *cmd;
	mb->posted++;
	atomic_fetch_or(&run.dp->bell.mail, 1U << id);
}

static inline void post_start(const struct action *x)
{
	struct blk_command cmd = {
		.type = BLK_CMD_START,
		.features = run.features,
		.writeback = x->b & 1,
		.config_line = { .fd = -1, .status = &run.isr, .bits = 2 },
		.status = &run.status,
	};

	if (!answered(guests_mailbox()))
		return;
	check_answer(guests_mailbox());
	if (run.dp->started) { /* is to be refused */
		post(&cmd);
		return;
	}
	model.nstarted = 0;
	for (unsigned q = 0; q < run.nqueues; q++) {
		run.config[q].ready = !(x->c & 1 << q);
		if (run.config[q].ready)
			model.order[model.nstarted++] = q;
		cmd.queue[q].config = run.config[q];
		cmd.queue[q].line = (struct irq_line){ .fd = -1, .status = &run.isr, .bits = 1 };
	}
	model.nstarted = 0;
	model.durable_now = model.volatile_cache && !cmd.writeback;
	post(&cmd);
}

/* A driver that begins anew: rings of zeroes. */
static inline void post_reset(void)
{
	const struct blk_command cmd = { .type = BLK_CMD_RESET };

	post(&cmd);
}

static inline void command(const struct action *x)
{
	struct blk_command cmd = { .type = BLK_CMD_PAUSE };

	switch (x->a % 6) {
	case 0:
		post_reset();
		return;
	case 1:
		post_start(x);
		return;
	case 2:
		break;
	case 3:
	case 4:
		cmd.type = BLK_CMD_RESUME;
		break;
	case 5:
		cmd.type = BLK_CMD_SET_WCE;
		cmd.writeback = x->b & 1;
		/* Nothing is popped before the command is taken. */
		if (answered(guests_mailbox()))
			model.durable_now = model.volatile_cache && !cmd.writeback;
		break;
	}
	post(&cmd);
}

/* As main does it: the buckets first, then the thread. */
static inline void post_limits(const struct action *x)
{
	static const uint64_t rates[] = {
		0, 1, 60, 1000, 4096, 100000, 10 << 20, THROTTLE_RATE_MAX,
	};
	struct blk_command cmd = { .type = BLK_CMD_THROTTLE };
	struct throttle_rate *r = &cmd.throttle.of[x->b % THROTTLE_KINDS];

	if (x->b & 0x80)
		cmd.throttle = run.limits;
	*r = (struct throttle_rate){ .rate = rates[x->c % 8] };
	if (x->c & 8 && r->rate && r->rate <= THROTTLE_RATE_MAX / 2) {
		r->max = 2 * r->rate;
		r->length = x->d % 100;
	}
	throttle_change(&run.buckets, &run.limits, &cmd.throttle, pace.now);
	run.limits = cmd.throttle;
	model.throttled = true;
	pace_change();
	post(&cmd);
}

static inline void post_size(const struct action *x)
{
	const struct blk_command cmd = { .type = BLK_CMD_RESIZE,
					 .size = 4096 * (1 + x->d % (DISK_SIZE / 4096)) };

	if (cmd.size > model.size)
		model.size = cmd.size;
	post(&cmd);
}

static inline void control(const struct action *x)
{
	struct blk_command cmd = { .type = BLK_CMD_JOB_COMPLETE + x->b % 4 };

	if (x->a % 5 == 0) {
		pace_pass((uint64_t)x->c << x->b % 32);
		return;
	}
	if (control_is_busy())
		return;
	check_answer(&run.dp->mailbox[BLK_BOX_CONTROL]);
	switch (x->a % 5) {
	case 1:
		post_limits(x);
		return;
	case 2:
		post_size(x);
		return;
	case 3:
		cmd.type = BLK_CMD_SET_ON_ERROR;
		cmd.on_error = x->b % 3;
		model.keeps_failed |= cmd.on_error != DISK_ON_ERROR_REPORT;
		break;
	}
	post(&cmd);
}

#endif
