/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A driver, the disk's thread as it is, from the ring to its sleep, and the host that ends I/O.
 */
#include <linux/virtio_blk.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/model/scenarios.h"
#include "tests/unit/fake_driver.h"
#include "virtio/blk/dataplane_priv.h"

#define MAX_DEPTH 2
#define RING_SIZE 4 /* two descriptors each */
#define HOST_RING 4

/* Threads, in the order of their creation. */
#define DRIVER 1u
#define DISK   2u
#define HOST   4u /* or who commands: a vCPU, then main */

/* What of `struct aio_ring` the scenarios need. */
struct host_ring {
	struct aio_ring head;
	struct io_event events[HOST_RING];
};

struct buffers {
	struct virtio_blk_outhdr hdr;
	uint8_t status;
};

static struct {
	struct fake_guest guest;
	struct fake_queue q;
	struct blk_dataplane *dp;
	struct block_backend be;
	struct host_ring *host;
	size_t dp_size;
	gpa_t buffers[MAX_DEPTH];
	int kick, line;
	_Atomic uint32_t status, isr;
	/* The driver's. */
	unsigned submitted, completed, requests, depth, after;
	/* The host's: requests it was given, not yet ended. */
	struct iocb *given[MAX_DEPTH + 1];
	unsigned ngiven;
} m;

static struct ring_config config;

/* ---- the driver ------------------------------------------------------------------------------ */

static struct buffers *buffers(unsigned slot)
{
	return fake_guest_ptr(&m.guest, m.buffers[slot]);
}

/* A FLUSH, told from the one before in the same place by what is stale of it: the type was wiped,
 * the status says nothing. */
static void submit(void)
{
	const unsigned slot = m.submitted % m.depth;
	const gpa_t at = m.buffers[slot];
	const struct fake_buf buf[2] = {
		{ at + offsetof(struct buffers, hdr), sizeof(struct virtio_blk_outhdr), 0 },
		{ at + offsetof(struct buffers, status), 1, VRING_DESC_F_WRITE },
	};

	buffers(slot)->hdr.type = VIRTIO_BLK_T_FLUSH;
	buffers(slot)->status = 0xff;
	if (fake_queue_add(&m.q, buf, 2, m.submitted) < 0)
		model_fail("the driver has no room");
	m.submitted++;
}

static bool take_one(void)
{
	struct fake_done done;

	if (!fake_queue_poll(&m.q, &done))
		return false;
	if (done.cookie + m.depth < m.submitted || done.cookie >= m.submitted)
		model_fail("head %u is used and was not in flight", done.head);
	if (done.len != 1)
		model_fail("a used element says %u bytes", done.len);
	if (buffers(done.cookie % m.depth)->status != VIRTIO_BLK_S_OK)
		model_fail("a used request has status %u", buffers(done.cookie % m.depth)->status);
	buffers(done.cookie % m.depth)->hdr.type = VIRTIO_BLK_T_GET_ID;
	m.completed++;
	return true;
}

static void remember_driver(void)
{
	uint64_t hash = model_hash(0, &m.submitted, 2 * sizeof(m.submitted));

	hash = model_hash(hash, &m.q.avail_idx,
			  offsetof(struct fake_queue, next) -
				  offsetof(struct fake_queue, avail_idx));
	hash = model_hash(hash, m.q.next, RING_SIZE * sizeof(m.q.next[0]));
	hash = model_hash(hash, m.q.chain_len, RING_SIZE * sizeof(m.q.chain_len[0]));
	hash = model_hash(hash, m.q.cookie, RING_SIZE * sizeof(m.q.cookie[0]));
	model_forget(&hash, sizeof(hash));
}

/* With virtio-mmio an interrupt whose status says nothing is not ours. */
static void wait_for_interrupt(void)
{
	do
		model_wait_event(m.line);
	while (config.mmio && !atomic_load_explicit(&m.isr, memory_order_acquire));
	if (config.mmio)
		atomic_fetch_and(&m.isr, ~1u);
}

static void publish(void)
{
	if (fake_queue_publish(&m.q))
		model_signal(m.kick);
}

/* As Linux does it: interrupts off while it works, on and one more look before it waits. */
static void driver(void *arg)
{
	unsigned after;

	while (m.completed < m.requests) {
		remember_driver();
		while (m.submitted < m.requests && m.submitted - m.completed < m.depth) {
			submit();
			if (config.singly)
				publish();
		}
		publish();
		fake_queue_disable_interrupts(&m.q);
		if (take_one()) {
			while (take_one())
				;
			continue;
		}
		after = m.submitted - m.completed - 1;
		if (!fake_queue_enable_interrupts(&m.q, m.after < after ? m.after : after))
			wait_for_interrupt();
	}
}

/* ---- the host -------------------------------------------------------------------------------- */

int io_submit(io_context_t ctx, long n, struct iocb **list)
{
	for (long i = 0; i < n; i++)
		m.given[m.ngiven++] = list[i];
	return (int)n;
}

static bool has_events(void *arg)
{
	return model_newest(&m.host->head.tail, 4) != model_newest(&m.host->head.head, 4);
}

/* The kernel reads its ring under a lock that aio_complete() takes, too. */
int io_getevents(io_context_t ctx, long min, long max, struct io_event *events,
		 struct timespec *timeout)
{
	if (!timeout)
		model_wait(has_events, NULL);
	model_acquire(&m.host->head.tail);
	return (int)aio_ring_reap(&m.host->head, events, max);
}

int io_setup(int n, io_context_t *ctx)
{
	return 0;
}

int io_destroy(io_context_t ctx)
{
	return 0;
}

/* A poll of the epoll set ends when something is in it, all else whenever it likes. */
static bool may_end(const struct iocb *iocb)
{
	return iocb->aio_lio_opcode != IO_CMD_POLL || model_epoll_ready();
}

static unsigned count_ready(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < m.ngiven; i++)
		n += may_end(m.given[i]);
	return n;
}

static bool any_ready(void *arg)
{
	return count_ready();
}

static struct iocb *take_ready(unsigned which)
{
	struct iocb *iocb;
	unsigned i = 0;

	while (!may_end(m.given[i]) || which--)
		i++;
	iocb = m.given[i];
	m.given[i] = m.given[--m.ngiven];
	return iocb;
}

/* aio_complete(): the event, smp_wmb(), the tail, the eventfd; requests end in any order. */
static void host(void *arg)
{
	const unsigned nr = HOST_RING;
	uint32_t tail = 0;

	for (;;) {
		struct iocb *iocb;
		int bell;

		model_forget(&tail, sizeof(tail));
		model_wait(any_ready, NULL);
		iocb = take_ready(model_choose(count_ready()));
		bell = iocb->u.c.flags & 1 ? (int)iocb->u.c.resfd : -1; /* IOCB_FLAG_RESFD */
		m.host->events[tail] = (struct io_event){ .data = iocb->data, .obj = iocb };
		tail = (tail + 1) % nr;
		atomic_store_explicit(&m.host->head.tail, tail, memory_order_release);
		if (bell >= 0)
			model_signal(bell);
	}
}

/* ---- the disk's thread ----------------------------------------------------------------------- */

static uint64_t hash_until(uint64_t hash, const void *from, const void *to)
{
	return model_hash(hash, from, (const uint8_t *)to - (const uint8_t *)from);
}

/* All of its struct but what is scratch or counts for people. */
static void remember_device(void)
{
	const struct blk_dataplane *dp = m.dp;
	uint64_t hash, pause = dp->poller.resume_ns > *model_clock()
				       ? dp->poller.resume_ns - *model_clock()
				       : 0;

	hash = hash_until(pause, &dp->started, &dp->poller);
	hash = model_hash(hash, &dp->poller.window_ns, 8);
	hash = hash_until(hash, &dp->poller + 1, &dp->chain);
	hash = model_hash(hash, &dp->aio, sizeof(dp->aio));
	hash = model_hash(hash, &dp->queue[0].vq, offsetof(struct virtqueue, busy) + 8);
	hash = hash_until(hash, dp->request, (const uint8_t *)dp + m.dp_size);
	model_forget(&hash, sizeof(hash));
}

static void device(void *arg)
{
	dataplane_run(m.dp);
}

/* ---- control --------------------------------------------------------------------------------- */

/* One command after the other. Whoever comes after the thread's end is told so. */
static void send_all(const char *letters)
{
	struct blk_command cmd = { .config_line.fd = -1, .status = &m.status };
	struct blk_mailbox *mb;
	int ret;

	for (unsigned i = 0; letters[i]; i++) {
		cmd.type = letters[i] - 'a';
		mb = &m.dp->mailbox[blk_command_mailbox(cmd.type)];
		model_forget((unsigned[]){ i, mb->posted }, 2 * sizeof(i));
		cmd.writeback = true;
		cmd.queue[0] = (struct blk_queue_setup){ m.q.config, { .fd = m.line } };
		ret = blk_mailbox_send(mb, &cmd, -1, -1);
		if (ret && (ret != -ESHUTDOWN || !config.quits))
			model_fail("command %u is answered with %d", i, ret);
		if (cmd.type == BLK_CMD_RESET && m.dp->queue[0].vq.size)
			model_fail("a queue still runs after the reset");
	}
}

static void vcpu(void *arg)
{
	send_all(config.guests);
}

static void control(void *arg)
{
	send_all(config.controls);
}

/* ---- setup ----------------------------------------------------------------------------------- */

/* As the driver has it at DRIVER_OK, and the device after START. */
static void start_device(uint64_t features)
{
	struct blk_dataplane *dp = m.dp;
	struct blk_queue *queue = &dp->queue[0];

	if (virtq_start(&queue->vq, &m.guest.mem, &m.q.config, features))
		abort();
	queue->line = (struct irq_line){ .fd = m.line };
	if (config.mmio)
		queue->line = (struct irq_line){ .fd = m.line, .status = &m.isr, .bits = 1 };
	blk_limits_init(&dp->limits, dp->be, dp->size, features, "");
	dp->notify_on = true;
	dp->writeback = true;
	dp->started = true;
}

static void new_device(void)
{
	m.dp_size = sizeof(*m.dp) + MAX_DEPTH * sizeof(struct blk_request);
	m.dp = realloc(m.dp, m.dp_size);
	memset(m.dp, 0, m.dp_size);
	m.be = (struct block_backend){
		.size = 1 << 20,
		.direct = true,
		.mem_align = 1,
		.offset_align = 1,
		.cache = config.host ? DISK_CACHE_NONE : DISK_CACHE_UNSAFE,
		.aio = DISK_AIO_NATIVE,
	};
	m.dp->be = &m.be;
	m.dp->size = m.be.size;
	m.dp->mem = &m.guest.mem;
	m.dp->nqueues = 1;
	m.dp->depth = MAX_DEPTH;
	m.dp->slots = MAX_DEPTH;
	m.dp->native = config.host;
	m.dp->config_line.fd = -1;
	blk_poller_init(&m.dp->poller, config.poll ? 50000 : 0);
	m.dp->poller.window_ns = config.poll ? BLK_POLL_START_NS : 0;
	m.dp->aio.event_fd = config.host ? model_eventfd() : -1;
}

static void new_mailboxes(void)
{
	if (!config.guests && !config.controls)
		return;
	if (blk_bell_init(&m.dp->bell))
		abort();
	for (unsigned id = 0; id < BLK_BOX_COUNT; id++)
		if (blk_mailbox_init(&m.dp->mailbox[id], &m.dp->bell, id))
			abort();
	model_watch(m.dp->bell.fd, EVENT_MAILBOX);
}

static void new_host(void)
{
	free(m.host);
	m.host = calloc(1, sizeof(*m.host));
	m.host->head.nr = HOST_RING;
	m.dp->aio.ring = &m.host->head;
	m.dp->aio.depth = MAX_DEPTH;
}

/* The indexes stand where so many requests have put them: wrapping is part of it. */
static void wind_on(uint16_t idx)
{
	struct virtqueue *vq = &m.dp->queue[0].vq;

	m.q.avail_idx = m.q.published = m.q.last_used = idx;
	m.q.avail->idx = m.q.used->idx = idx;
	*fake_queue_used_event(&m.q) = idx - 1;
	*fake_queue_avail_event(&m.q) = idx;
	vq->last_avail = vq->seen_avail = vq->next_used = vq->signalled = idx;
}

static void share_rings(void)
{
	struct vring_used *used = m.q.used;

	model_shared("desc", m.q.desc, RING_SIZE * sizeof(struct vring_desc), 8, DRIVER | DISK);
	model_shared("avail", m.q.avail, 6 + 2 * RING_SIZE, 2, DRIVER | DISK);
	model_shared("used", used, 4, 2, DRIVER | DISK);
	model_shared("used.ring", used->ring, RING_SIZE * sizeof(used->ring[0]), 8, DRIVER | DISK);
	model_shared("avail_event", fake_queue_avail_event(&m.q), 2, 2, DRIVER | DISK);
	for (unsigned i = 0; i < config.depth; i++) {
		model_shared("type", &buffers(i)->hdr, 8, 8, DRIVER | DISK);
		model_shared("status", &buffers(i)->status, 1, 1, DRIVER | DISK);
	}
}

static void share_host(void)
{
	model_shared("aio.tail", &m.host->head.tail, 4, 4, DISK | HOST);
	for (unsigned i = 0; i < HOST_RING; i++)
		model_shared("aio.event", &m.host->events[i], 16, 8, DISK | HOST);
}

static void share_mailbox(enum blk_mailbox_id id, unsigned users)
{
	struct blk_mailbox *mb = &m.dp->mailbox[id];

	model_shared("answered", &mb->answered, 4, 4, users);
	model_shared("result", &mb->result, 4, 4, users);
	model_shared("command.type", &mb->command.type, 4, 4, users);
	model_shared("command.queue", &mb->command.queue[0].config, 4, 2, users);
}

static void share_mailboxes(void)
{
	const unsigned main = config.guests ? HOST << 1 : HOST;

	model_shared("mail", &m.dp->bell.mail, 4, 4, DISK | HOST | main);
	if (config.guests) {
		share_mailbox(BLK_BOX_GUEST, DISK | HOST);
		model_shared("vq.size", &m.dp->queue[0].vq.size, 2, 2, DISK | HOST);
	}
	if (config.controls)
		share_mailbox(BLK_BOX_CONTROL, DISK | main);
}

static void setup(void)
{
	const uint64_t features = config.event_idx ? 1ULL << VIRTIO_RING_F_EVENT_IDX : 0;

	if (m.guest.ram)
		fake_guest_free(&m.guest);
	fake_guest_init(&m.guest, 0x10000, 0x10000);
	fake_queue_init(&m.q, &m.guest, RING_SIZE, features);
	for (unsigned i = 0; i < MAX_DEPTH; i++)
		m.buffers[i] = fake_guest_alloc(&m.guest, sizeof(struct buffers), 64);
	m.kick = model_eventfd();
	m.line = model_eventfd();
	model_watch(m.kick, 0);
	new_device();
	new_mailboxes();
	new_host();
	if (config.host)
		model_watch(m.dp->aio.event_fd, EVENT_AIO);
	start_device(features);
	wind_on(config.quits ? 0 : 0xffff); /* START begins at 0 */
	m.submitted = m.completed = m.ngiven = m.isr = 0;
	m.requests = config.requests;
	m.depth = config.depth;
	m.after = config.after;
	share_rings();
	if (config.mmio)
		model_shared("InterruptStatus", &m.isr, 4, 4, DRIVER | DISK);
	if (config.host)
		share_host();
	if (config.guests || config.controls)
		share_mailboxes();
	model_private(m.dp, m.dp_size);
	model_private(&m, sizeof(m));
	model_private(m.host, sizeof(*m.host));
	model_known_to_all(m.given, sizeof(m.given) + sizeof(m.ngiven));
	model_forget_at(&m.dp->bell.mail, "blk_bell_take", remember_device);
	model_thread("driver", driver, NULL, true);
	model_thread("disk", device, NULL, config.quits);
	if (config.host)
		model_thread("host", host, NULL, false);
	else if (config.guests)
		model_thread("vcpu", vcpu, NULL, true);
	if (config.controls)
		model_thread("control", control, NULL, true);
}

enum model_result ring_explore(const void *what, struct site *weak, uint64_t mark, bool show)
{
	config = *(const struct ring_config *)what;
	return model_explore(setup, weak, mark, show);
}
