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
#include "tests/fuzz/bytes.h"
#include "tests/fuzz/loads.h"
#include "tests/fuzz/ring_engine.h"
#include "tests/fuzz/ring_memory.h"
#include "tests/fuzz/ring_model.h"
#include "tests/fuzz/target.h"

const char fuzz_target[] = "ring";

#define RECORD	    8
#define MAX_ACTIONS 400
#define MAX_PASSES  20000 /* without a sleep; all requests of the largest queues are far fewer */
#define SECTORS	    (DISK_SIZE / 512)

/* Where rings lie if the script does not say otherwise; then requests' headers, then data. */
#define RING_GPA(q) (0x1000 + (q)*0x2000ULL)
#define AVAIL_OFF   0x1000
#define USED_OFF    0x1400
#define HEADERS_GPA 0x5000ULL
#define HEADERS	    64
#define TABLES_GPA  0x5800ULL /* indirect tables: one per header, 8 entries each */

enum op {
	OP_REQUEST,  /* a well-formed one: type, segments, sector, where the data is */
	OP_DESC,     /* one descriptor: index, flags, address, length */
	OP_TABLE,    /* one descriptor of an indirect table */
	OP_OFFER,    /* a head into the avail ring */
	OP_INDEX,    /* avail->idx jumps */
	OP_POKE,     /* bytes anywhere */
	OP_EVENT,    /* used_event or avail->flags */
	OP_COMPLETE, /* the k-th request in the kernel: all, short, an error */
	OP_WORK,     /* the k-th request of the workers, likewise */
	OP_SUBMIT,   /* io_submit() takes only so many, then says so */
	OP_RACE,     /* the next action comes in the middle, after so many loads */
	OP_COMMAND,  /* RESET, START, PAUSE, RESUME, SET_WCE */
	OP_RINGS,    /* where the next START finds the rings */
	OP_COUNT,
};

#define WHEN_IN_PASS 0x40 /* between two steps of the device */
#define THEN_SLEEP   0x80 /* nothing more before the device has run */

struct action {
	uint8_t op, q, a, b;
	uint16_t c, d;
};

static struct {
	struct bytes script;
	unsigned actions;
	bool has_next, offered_in_pass;
	struct action next;
	struct blk_dataplane *dp;
	unsigned nqueues, depth;
	enum disk_on_error on_error;
	uint64_t features;
	struct virtq_config config[MODEL_QUEUES];
	_Atomic uint32_t status, isr;
	uint16_t avail[MODEL_QUEUES];	  /* the driver's own indexes */
	uint16_t next_desc[MODEL_QUEUES]; /* where it looks for free descriptors */
	unsigned next_header;
	unsigned passes; /* of the device since it slept */
	int race;	 /* loads until the next action; -1: none waits */
	bool acting;	 /* the script runs, the device does not */
	bool kicked;	 /* a doorbell rang in the middle of a pass */
	enum { SCRIPT, DRAIN, RESET, QUIT } phase;
} run;

/* ---- the driver ------------------------------------------------------------------------------ */

static void put_desc(uint64_t table, unsigned i, uint64_t addr, uint32_t len, uint16_t flags,
		     uint16_t next)
{
	const struct vring_desc d = { addr, len, flags, next };

	guest_write(table + 16ULL * i, &d, sizeof(d));
}

/* 2.7.10, 2.7.13.4: does the device ask for a kick when avail->idx becomes `idx`? */
static bool wants_kick(unsigned q, uint16_t idx)
{
	const struct model_queue *m = &model.queue[q];

	if (!m->vq)
		return true;
	if (m->event_idx)
		return word_at(m->used + 4 + 8 * m->size) == (uint16_t)(idx - 1);
	return !(word_at(m->used) & VRING_USED_F_NO_NOTIFY);
}

static void offer(unsigned q, uint16_t head)
{
	const uint16_t size = run.config[q].size ? run.config[q].size : 1;

	guest_write(run.config[q].avail + 4 + 2ULL * (run.avail[q] % size), &head, 2);
	run.avail[q]++;
	guest_write(run.config[q].avail + 2, &run.avail[q], 2);
	run.kicked |= wants_kick(q, run.avail[q]);
}

/* A head that the device does not hold, if there is one within reach. */
static unsigned free_head(unsigned q, unsigned n)
{
	const unsigned size = run.config[q].size ? run.config[q].size : 1;
	unsigned head = 0;

	for (unsigned tries = 0; tries < size; tries++) {
		head = run.next_desc[q] % size;
		run.next_desc[q] = (head + 1) % size;
		if (head >= MODEL_SIZE || !model.queue[q].flight[head].live)
			break;
	}
	run.next_desc[q] = (head + n) % size;
	return head;
}

static uint32_t request_type(unsigned code)
{
	static const uint32_t types[] = {
		VIRTIO_BLK_T_IN,	   VIRTIO_BLK_T_OUT,	 VIRTIO_BLK_T_IN,
		VIRTIO_BLK_T_OUT,	   VIRTIO_BLK_T_FLUSH,	 VIRTIO_BLK_T_GET_ID,
		VIRTIO_BLK_T_WRITE_ZEROES, VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_SCSI_CMD,
		VIRTIO_BLK_T_SECURE_ERASE, UINT32_MAX,
	};

	return types[code % (sizeof(types) / sizeof(types[0]))];
}

struct buffer {
	uint64_t gpa;
	uint32_t len;
	uint16_t flags;
};

/* What a driver would build: header, data, status; returns how many buffers. */
static unsigned build_request(const struct action *x, struct buffer *buf)
{
	const uint64_t hdr = HEADERS_GPA + 32ULL * (run.next_header % HEADERS);
	const uint32_t type = request_type(x->a & 15);
	const uint16_t flags =
		type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID ? VRING_DESC_F_WRITE : 0;
	const struct virtio_blk_outhdr head = {
		.type = type,
		.sector = x->c < 0x8000 ? x->c % (SECTORS + 2) : -(uint64_t)(x->c & 0x7fff),
	};
	const struct virtio_blk_discard_write_zeroes range = {
		.sector = x->c % (SECTORS + 2),
		.num_sectors = x->b,
		.flags = x->c >> 14,
	};
	const unsigned data = type == VIRTIO_BLK_T_FLUSH ? 0 : x->b & 7;
	uint64_t at = gpa_decode(x->d);
	unsigned n = 0;

	guest_write(hdr, &head, sizeof(head));
	buf[n++] = (struct buffer){ hdr, sizeof(head), 0 };
	if (type == VIRTIO_BLK_T_DISCARD || type == VIRTIO_BLK_T_WRITE_ZEROES)
		guest_write(at, &range, sizeof(range));
	for (unsigned i = 0; i < data; i++) {
		/* Sectors, or a range, or pieces that make sectors only together. */
		const uint32_t len = !flags && type != VIRTIO_BLK_T_OUT ? 16
				     : x->b & 0x80			? 512u >> (x->b >> 4 & 3)
									: 512u << (x->b >> 4 & 3);

		buf[n++] = (struct buffer){ at, len, flags };
		at += len;
	}
	buf[n++] = (struct buffer){ hdr + 24, 1, VRING_DESC_F_WRITE };
	return n;
}

static void add_request(const struct action *x, unsigned q)
{
	const unsigned size = run.config[q].size ? run.config[q].size : 1;
	const uint64_t table = TABLES_GPA + 128ULL * (run.next_header % 32);
	struct buffer buf[16];
	unsigned n = build_request(x, buf), head;

	run.next_header++;
	if (x->a & 0x40) /* no status */
		n--;
	if (x->a & 0x20 && n > 2) { /* the status shares the last buffer */
		n--;
		buf[n - 1].len++;
	}
	if (x->a & 0x10 && n <= 8) {
		head = free_head(q, 1);
		for (unsigned i = 0; i < n; i++)
			put_desc(table, i, buf[i].gpa, buf[i].len,
				 buf[i].flags | (i + 1 < n ? VRING_DESC_F_NEXT : 0), i + 1);
		put_desc(run.config[q].desc, head, table, 16 * n, VRING_DESC_F_INDIRECT, 0);
	} else {
		head = free_head(q, n);
		for (unsigned i = 0; i < n; i++)
			put_desc(run.config[q].desc, (head + i) % size, buf[i].gpa, buf[i].len,
				 buf[i].flags | (i + 1 < n ? VRING_DESC_F_NEXT : 0),
				 (head + i + 1) % size);
	}
	offer(q, head);
}

static void set_event(const struct action *x, unsigned q)
{
	const uint16_t size = run.config[q].size;

	if (x->a & 1)
		guest_write(run.config[q].avail + 4 + 2ULL * size, &x->c, 2);
	else
		guest_write(run.config[q].avail, &x->c, 2);
}

static void jump(const struct action *x, unsigned q)
{
	run.avail[q] += (int16_t)x->c;
	guest_write(run.config[q].avail + 2, &run.avail[q], 2);
}

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

/* ---- commands -------------------------------------------------------------------------------- */

static bool answered(const struct blk_mailbox *mb)
{
	return atomic_load(&mb->answered) == mb->posted;
}

static struct blk_mailbox *guests_mailbox(void)
{
	return &run.dp->mailbox[BLK_BOX_GUEST];
}

/* After a reset the device holds nothing. */
static void forget(void)
{
	fuzz_check(engine_idle(), "a reset is over with I/O under way");
	check_memory();
	for (unsigned q = 0; q < MODEL_QUEUES; q++) {
		model.queue[q].vq = NULL;
		for (unsigned h = 0; h < MODEL_SIZE; h++) {
			const struct flight *f = &model.queue[q].flight[h];

			fuzz_check(!f->live || model.broken || (f->failed && model.keeps_failed),
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

/* What an answer says must be so. */
static void check_answer(struct blk_mailbox *mb)
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
	default:
		break;
	}
	/* Once. */
	mb->command.type = BLK_CMD_RESUME;
}

static void check_answers(void)
{
	for (unsigned id = 0; id < BLK_BOX_COUNT; id++)
		check_answer(&run.dp->mailbox[id]);
}

static void post(const struct blk_command *cmd)
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

static void post_start(const struct action *x)
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
static void post_reset(void)
{
	const struct blk_command cmd = { .type = BLK_CMD_RESET };

	post(&cmd);
}

static void command(const struct action *x)
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

	check_memory();
	check_broken();
	fuzz_check(!engine.unreaped && !engine.done, "the device sleeps on completions");
	for (unsigned q = 0; q < run.nqueues && dataplane_serving(dp) && dataplane_has_request(dp);
	     q++)
		fuzz_check(run.kicked || !has_work(&model.queue[q]),
			   "the device sleeps on work of queue %u", q);
	fuzz_check(!for_ever || engine.nio || engine.ntodo || dataplane_drained(dp),
		   "the device sleeps for ever on %u requests that nobody has", dp->in_flight);
	fuzz_check(!dp->parked || !dataplane_serving(dp), "the device sleeps on parked requests");
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
	else if (!run.dp->in_flight)
		run.phase = RESET;
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
	model.broken = model.sync_failed = false;
	model.raced = 0;
	model.last_popped = NULL;
	memset(&run, 0, sizeof(run));
	run.race = -1;
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
	config.on_error = run.on_error;
	fuzz_check(!blk_dataplane_create(&run.dp, &config, &err), "%s", err.text);
	act(&start);
	dataplane_run(run.dp);
	fuzz_check(!run.dp->in_flight, "%u requests are lost", run.dp->in_flight);
	blk_dataplane_destroy(run.dp);
	return 0;
}

/* ---- mutations ------------------------------------------------------------------------------- */

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max) __attribute__((weak));

/* Whole actions are copied, dropped and swapped; within one, libFuzzer knows best. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
	const size_t n = size / RECORD;
	const size_t from = n ? seed / 8 % n * RECORD : 0, to = n ? seed / 4096 % n * RECORD : 0;
	uint8_t record[RECORD];

	if (n < 2 || seed % 8 > 3)
		return LLVMFuzzerMutate(data, size, max);
	memcpy(record, data + from, RECORD);
	switch (seed % 8) {
	case 0: /* once more, somewhere */
		if (size + RECORD > max)
			return size;
		memmove(data + to + RECORD, data + to, size - to);
		memcpy(data + to, record, RECORD);
		return size + RECORD;
	case 1:
		memmove(data + from, data + from + RECORD, size - from - RECORD);
		return size - RECORD;
	case 2:
		memcpy(data + from, data + to, RECORD);
		memcpy(data + to, record, RECORD);
		return size;
	default: /* one action changes, at its place */
		LLVMFuzzerMutate(data + from, RECORD, RECORD);
		return size;
	}
}
