/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile driver and a moody host against the real dataplane: memory image -> pop, parse, execute,
 * complete. The disk's thread runs here as a plain call, and whenever it would sleep it is the
 * script's turn: so every run of an input is the same.
 *
 * An input is 8 bytes of configuration and then actions of 8 bytes: what to do, on which queue, two
 * numbers of one byte and two of two bytes. Some are done while the device sleeps, some between two
 * of its steps, and some between two of its loads from guest memory (with clang, see the Makefile).
 */
#include "tests/fuzz/loads.h"
#include "tests/fuzz/ring_commands.h"
#include "tests/fuzz/ring_driver.h"
#include "tests/fuzz/ring_mutate.h"

const char fuzz_target[] = "ring";

/* ---- the host -------------------------------------------------------------------------------- */

static int host_error(unsigned code)
{
	static const int errors[] = { EIO, ENOSPC, EAGAIN, EINVAL, EOPNOTSUPP, EINTR, EFBIG };

	return errors[code % (sizeof(errors) / sizeof(errors[0]))];
}

/* Direct I/O ends in the middle of a block at the end of a file only. */
static uint32_t short_count(uint16_t n)
{
	return n - n % engine.be.offset_align;
}

static void complete_io(const struct action *x)
{
	const int error = x->a & 1 ? -host_error(x->b) : 0;

	if (engine.nio)
		engine_complete(x->c % engine.nio, x->a & 2 ? short_count(x->d) : UINT64_MAX,
				error);
}

static void work(const struct action *x)
{
	if (!engine.ntodo)
		return;
	engine.call_error = x->a & 1 ? host_error(x->b) : 0;
	engine.short_bytes = x->a & 2 ? short_count(x->d) : 0;
	engine_work(x->c % engine.ntodo);
	engine.call_error = 0;
	engine.short_bytes = 0;
}

static void limit_submit(const struct action *x)
{
	engine.take = x->a;
	engine.submit_error = x->b ? -host_error(x->b) : 0;
	if (engine.submit_error == -EINVAL) /* that would be for good */
		engine.submit_error = -EIO;
	/* Also what the next of the disk's own calls does: a read from the page cache, a last sync. */
	engine.call_error = x->c & 1 ? host_error(x->c >> 1) : 0;
	engine.short_bytes = x->c & 0x100 ? short_count(x->d) : 0;
}

/* ---- the script ------------------------------------------------------------------------------ */

static void set_rings(const struct action *x, unsigned q)
{
	struct virtq_config *config = &run.config[q];

	switch (x->a % 4) {
	case 0:
		config->desc = gpa_decode(x->c);
		break;
	case 1:
		config->avail = gpa_decode(x->c);
		break;
	case 2:
		config->used = gpa_decode(x->c);
		break;
	case 3:
		config->size = x->b & 0x80 ? x->d % (MODEL_SIZE + 1) : 1u << (x->b % 9);
		break;
	}
}

static void act(const struct action *x)
{
	const unsigned q = x->q % run.nqueues;

	switch (x->op & 0x1f) {
	case OP_REQUEST:
		add_request(x, q);
		break;
	case OP_DESC:
		put_desc(run.config[q].desc, x->a, gpa_decode(x->c), len_decode(x->d), x->b & 7,
			 x->a + (x->b >> 4) - 7);
		break;
	case OP_TABLE:
		put_desc(TABLES_GPA, x->a, gpa_decode(x->c), len_decode(x->d), x->b & 7,
			 x->a % 8 + (x->b >> 4) - 7);
		break;
	case OP_OFFER:
		offer(q, x->c);
		break;
	case OP_INDEX:
		jump(x, q);
		break;
	case OP_POKE:
		guest_write(gpa_decode(x->c), &x->d, 1 + x->a % 2);
		break;
	case OP_EVENT:
		set_event(x, q);
		break;
	case OP_COMPLETE:
		complete_io(x);
		break;
	case OP_WORK:
		work(x);
		break;
	case OP_SUBMIT:
		limit_submit(x);
		break;
	case OP_RACE:
		run.race = x->c % 512;
		break;
	case OP_COMMAND:
		command(x);
		break;
	case OP_RINGS:
		set_rings(x, q);
		break;
	case OP_CONTROL:
		control(x);
		break;
	}
}

/* Looks at the next action; false: there is none. */
static bool peek(void)
{
	if (run.has_next)
		return true;
	if (!run.script.left || run.actions == MAX_ACTIONS)
		return false;
	run.actions++;
	run.next.op = bytes_take(&run.script, 1);
	run.next.q = bytes_take(&run.script, 1);
	run.next.a = bytes_take(&run.script, 1);
	run.next.b = bytes_take(&run.script, 1);
	run.next.c = bytes_take(&run.script, 2);
	run.next.d = bytes_take(&run.script, 2);
	run.has_next = true;
	return true;
}

static bool only_writes_memory(const struct action *x)
{
	const unsigned op = x->op & 0x1f;

	return op == OP_DESC || op == OP_TABLE || op == OP_OFFER || op == OP_INDEX ||
	       op == OP_POKE || op == OP_EVENT;
}

static void act_next(void)
{
	run.has_next = false;
	run.acting = true;
	act(&run.next);
	run.acting = false;
	/* Who writes indexes by other ways than a driver's gets what he deserves. */
	run.kicked |= only_writes_memory(&run.next) && (run.next.op & 0x1f) != OP_OFFER;
}

static void script_in_pass(void)
{
	if (!run.acting && run.phase == SCRIPT && peek() && run.next.op & WHEN_IN_PASS)
		act_next();
}

/* The device is about to load from guest memory. */
static void before_load(void)
{
	if (run.race < 0 || run.acting || run.phase != SCRIPT || run.race--)
		return;
	if (!peek() || !only_writes_memory(&run.next))
		return;
	act_next();
	model.raced++;
	if (model.last_popped)
		model.last_popped->known = false;
}

uint64_t __real_iov_read(const struct iovec *iov, unsigned n, uint64_t off, void *dst,
			 uint64_t len);
uint64_t __wrap_iov_read(const struct iovec *iov, unsigned n, uint64_t off, void *dst,
			 uint64_t len);

uint64_t __wrap_iov_read(const struct iovec *iov, unsigned n, uint64_t off, void *dst, uint64_t len)
{
	before_load();
	return __real_iov_read(iov, n, off, dst, len);
}

static void on_load(const void *p)
{
	if (run.race >= 0 && ram_holds(p, 1))
		before_load();
}

/* ---- turns ----------------------------------------------------------------------------------- */

bool __real_dataplane_poll_once(struct blk_dataplane *dp);
bool __wrap_dataplane_poll_once(struct blk_dataplane *dp);

bool __wrap_dataplane_poll_once(struct blk_dataplane *dp)
{
	bool did;

	fuzz_check(run.passes++ < MAX_PASSES, "the device never sleeps");
	check_answers();
	did = __real_dataplane_poll_once(dp);
	engine.unreaped = (engine_ring()->tail + RING_EVENTS - engine_ring()->head) % RING_EVENTS;
	return did;
}

static void check_broken(void)
{
	const bool said = atomic_load(&run.status) & VIRTIO_CONFIG_S_NEEDS_RESET;

	fuzz_check(said == model.broken, "NEEDS_RESET is %d, the rings are %s", said,
		   model.broken ? "broken" : "sound");
	fuzz_check(!said || atomic_load(&run.isr) & 2, "NEEDS_RESET without an interrupt");
}

static bool has_work(const struct model_queue *q)
{
	return q->vq && word_at(q->avail + 2) != q->last_avail;
}

/* What must hold whenever the device sleeps. */
static void check_sleep(bool by_bell, bool for_ever)
{
	struct blk_dataplane *dp = run.dp;
	uint64_t deadline;

	check_memory();
	check_broken();
	fuzz_check(!engine.unreaped && !engine.done, "the device sleeps on completions");
	for (unsigned q = 0; q < run.nqueues && dataplane_serving(dp) && dataplane_has_request(dp);
	     q++)
		fuzz_check(run.kicked || !has_work(&model.queue[q]),
			   "the device sleeps on work of queue %u", q);
	fuzz_check(!for_ever || engine.nio || engine.ntodo || dataplane_drained(dp),
		   "the device sleeps for ever on %u requests that nobody has", dp->in_flight);
	fuzz_check(!dp->failed.first || !dataplane_serving(dp),
		   "the device sleeps on failed requests");
	if (dataplane_next_deadline(dp, &deadline))
		pace_check_sleep(deadline);
	for (unsigned i = 0; i < engine.nio && by_bell && for_ever; i++)
		fuzz_check(engine.io[i].rings, "the device sleeps on a request that rings nothing");
}

/* Everything ends well, one request at a time. */
static void drain(void)
{
	const struct blk_command resume = { .type = BLK_CMD_RESUME };

	if (engine.nio)
		engine_complete(0, UINT64_MAX, 0);
	else if (engine.ntodo)
		engine_work(0);
	else if (!run.dp->in_flight || (model.broken && dataplane_drained(run.dp)))
		run.phase = RESET;
	else if (dataplane_serving(run.dp) && pace.timer)
		pace_pass(pace.timer - pace.now);
	else if (dataplane_drained(run.dp))
		post(&resume);
}

static void finish(void)
{
	const struct blk_command quit = { .type = BLK_CMD_QUIT };

	switch (run.phase) {
	case SCRIPT:
		run.phase = DRAIN;
		engine.take = UINT32_MAX;
		break;
	case DRAIN:
		drain();
		break;
	case RESET:
		for (unsigned q = 0; q < run.nqueues; q++)
			fuzz_check(model.broken || !run.dp->queue[q].vq.in_flight,
				   "%u heads of queue %u are lost", run.dp->queue[q].vq.in_flight,
				   q);
		post_reset();
		run.phase = QUIT;
		break;
	case QUIT:
		post(&quit);
		break;
	}
}

static void take_turn(void)
{
	bool sleep = false;

	while (!sleep && peek()) {
		/* It comes when the device is at it, unless that never happens. */
		if (run.next.op & WHEN_IN_PASS && !run.offered_in_pass) {
			run.offered_in_pass = true;
			return;
		}
		run.offered_in_pass = false;
		if (run.race >= 0 && only_writes_memory(&run.next)) {
			run.race = -1; /* it was waiting for this one */
			return;
		}
		sleep = run.next.op & THEN_SLEEP;
		act_next();
		if ((run.next.op & 0x1f) == OP_RACE)
			return;
	}
	if (!sleep)
		finish();
}

static void sleeps(bool by_bell, bool for_ever)
{
	check_sleep(by_bell, for_ever);
	check_answers();
	run.passes = 0;
	pace.fired = false;
	take_turn();
	run.kicked = false;
}

int epoll_wait(int epfd, struct epoll_event *events, int max, int timeout)
{
	if (timeout)
		sleeps(true, timeout < 0);
	return 0;
}

/* ---- one input ------------------------------------------------------------------------------- */

static void configure(void)
{
	const uint8_t flags = bytes_take(&run.script, 1), shape = bytes_take(&run.script, 1);
	const uint8_t depth = bytes_take(&run.script, 1), disk = bytes_take(&run.script, 1);
	struct block_backend *be = &engine.be;
	struct aio_ring *ring = engine_ring();

	bytes_take(&run.script, 1);
	run.on_error = bytes_take(&run.script, 1) % 3;
	bytes_take(&run.script, 2);
	run.nqueues = 1 + (shape >> 4 & 1);
	run.depth = 1 + depth % 40;
	run.slots = depth < 200 ? MODEL_QUEUES * MODEL_SIZE : run.depth;
	run.features = 1ULL << VIRTIO_F_VERSION_1 |
		       (uint64_t)(flags & 1) << VIRTIO_RING_F_EVENT_IDX |
		       (uint64_t)(flags >> 1 & 1) << VIRTIO_RING_F_INDIRECT_DESC |
		       (uint64_t)(flags >> 5 & 1) << VIRTIO_BLK_F_DISCARD |
		       (uint64_t)(flags >> 6 & 1) << VIRTIO_BLK_F_WRITE_ZEROES;
	*be = (struct block_backend){
		.fd = FAKE_FD,
		.readonly = flags & 4,
		.aio = flags & 8 ? DISK_AIO_THREADS : DISK_AIO_NATIVE,
		.size = DISK_SIZE,
		.block_size = 512,
		.physical_block_size = 512,
		.mem_align = 1,
		.offset_align = 1,
		.can_discard = disk & 1,
		.cache = disk & 4 ? DISK_CACHE_UNSAFE : DISK_CACHE_WRITEBACK,
	};
	be->direct = be->aio == DISK_AIO_NATIVE || disk & 8;
	if (be->direct) {
		be->cache = DISK_CACHE_NONE;
		be->mem_align = 1u << (disk >> 4 & 3) * 3; /* 1, 8, 64, 512 */
		be->offset_align = disk & 0x80 ? 4096 : 512;
	}
	*ring = (struct aio_ring){
		.nr = RING_EVENTS,
		.magic = flags & 16 ? 0 : AIO_RING_MAGIC,
		.compat_features = AIO_RING_COMPAT_FEATURES,
		.header_length = sizeof(*ring),
	};
	for (unsigned q = 0; q < MODEL_QUEUES; q++)
		run.config[q] = (struct virtq_config){
			.size = 1u << (shape & 15) % 9,
			.desc = RING_GPA(q),
			.avail = RING_GPA(q) + AVAIL_OFF,
			.used = RING_GPA(q) + USED_OFF,
		};
	model.keeps_failed = run.on_error != DISK_ON_ERROR_REPORT;
	model.size = DISK_SIZE;
	engine.no_fdsync = disk & 2;
	model.volatile_cache = !be->readonly && be->cache != DISK_CACHE_UNSAFE;
}

static void forget_last_run(void)
{
	for (unsigned q = 0; q < MODEL_QUEUES; q++)
		for (unsigned h = 0; h < MODEL_SIZE; h++)
			model.queue[q].flight[h].live = false;
	for (unsigned q = 0; q < MODEL_QUEUES; q++)
		model.queue[q].vq = NULL;
	model.broken = model.syncing = model.sync_failed = model.throttled = false;
	model.raced = 0;
	model.last_popped = NULL;
	memset(&run, 0, sizeof(run));
	run.race = -1;
	pace_init();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct action start = { .op = OP_COMMAND, .a = 1, .b = size > 4 ? data[4] : 0 };
	static const int kick_fd[MODEL_QUEUES] = { FAKE_FD, FAKE_FD };
	struct blk_dataplane_config config = {
		.backend = &engine.be,
		.mem = &ram.mem,
		.kick_fd = kick_fd,
		.cpu = -1,
		.name = "blk",
		.serial = "a serial of 20 bytes",
		.event_fd = -1,
		.buckets = &run.buckets,
	};
	struct error err;

	fuzz_before_load = on_load;
	ram_init();
	engine_init();
	forget_last_run();
	run.script = bytes_init(data, size);
	configure();
	config.nqueues = run.nqueues;
	config.depth = run.depth;
	config.slots = run.slots;
	config.on_error = run.on_error;
	fuzz_check(!blk_dataplane_create(&run.dp, &config, &err), "%s", err.text);
	act(&start);
	dataplane_run(run.dp);
	fuzz_check(!run.dp->in_flight, "%u requests are lost", run.dp->in_flight);
	blk_dataplane_destroy(run.dp);
	return 0;
}
