/* SPDX-License-Identifier: Apache-2.0 */
/*
 * H12, without luck: each word that a guest may change is read once. The memory of ring, table and
 * header cannot be touched; each access faults, is written down, and gets through by a single step,
 * after which the guest may have changed all of it.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <cmocka.h>

#include "tests/unit/virtqueue_rig.h"
#include "virtio/blk/request.h"

/* TSan holds signals back, and only x86 has this flag. */
#if defined(__x86_64__) && !defined(MVMM_TSAN)

#define SINGLE_STEP 0x100
#define PAGES	    5 /* descriptors, avail, used, an indirect table, a header with what follows it */
#define HEADER	    (4 * 4096)

struct watch {
	uint8_t *start;
	uintptr_t seen[64];
	unsigned nseen;
	unsigned change_at; /* after so many accesses the guest writes; 0: never */
	struct rig *rig;
	struct vring_desc *table;
};

static struct watch watch;

static void allow(int rights)
{
	if (mprotect(watch.start, PAGES * 4096, rights))
		_exit(1);
}

static void on_access(int sig, siginfo_t *info, void *context)
{
	ucontext_t *cpu = context;
	const uintptr_t at = (uintptr_t)info->si_addr;

	if (at - (uintptr_t)watch.start >= PAGES * 4096 || watch.nseen == 64) {
		signal(sig, SIG_DFL);
		return;
	}
	watch.seen[watch.nseen++] = at;
	allow(PROT_READ | PROT_WRITE);
	cpu->uc_mcontext.gregs[REG_EFL] |= SINGLE_STEP;
}

/* Buffers that wrap and overrun, and a header that asks for another place. */
static void change(void)
{
	const struct vring_desc bad = { .addr = ~0ULL - 4, .len = 0x10000, .flags = W };

	for (unsigned i = 0; i < 8; i++)
		watch.rig->drv.desc[i] = watch.table[i] = bad;
	memset(watch.start + HEADER, 0x5a, 4096);
}

static void after_access(int sig, siginfo_t *info, void *context)
{
	ucontext_t *cpu = context;

	if (watch.nseen == watch.change_at)
		change();
	allow(PROT_NONE);
	cpu->uc_mcontext.gregs[REG_EFL] &= ~SINGLE_STEP;
}

/* Here and not at the start: cmocka has handlers of its own in each test. */
static void catch_signals(void)
{
	const struct sigaction access = { .sa_sigaction = on_access, .sa_flags = SA_SIGINFO };
	const struct sigaction step = { .sa_sigaction = after_access, .sa_flags = SA_SIGINFO };

	assert_int_equal(sigaction(SIGSEGV, &access, NULL), 0);
	assert_int_equal(sigaction(SIGTRAP, &step, NULL), 0);
}

/* A request in an indirect table: its header, 16 more bytes, a sector, the status. */
static struct rig *offer(uint32_t type, bool with_range)
{
	struct rig *rig = rig_new(8, F_INDIRECT);
	const gpa_t table = fake_guest_alloc(&rig->guest, 4096, 4096);
	const gpa_t header = fake_guest_alloc(&rig->guest, 4096, 4096);
	struct virtio_blk_outhdr *hdr = fake_guest_ptr(&rig->guest, header);
	struct virtio_blk_discard_write_zeroes *range = (void *)(hdr + 1);
	const struct vring_desc last = { .addr = BUFFER, .len = 513, .flags = W };

	*hdr = (struct virtio_blk_outhdr){ .type = type, .sector = 8 };
	*range = (struct virtio_blk_discard_write_zeroes){ .sector = 8, .num_sectors = 8 };
	watch = (struct watch){ .start = (void *)rig->drv.desc, .rig = rig };
	watch.table = fake_guest_ptr(&rig->guest, table);
	watch.table[0] = (struct vring_desc){ .addr = header, .len = 16, .flags = NEXT, .next = 2 };
	watch.table[2] = (struct vring_desc){ header + 16, 16, NEXT, 1 };
	watch.table[1] = last;
	if (!with_range)
		watch.table[0].next = 1;
	fake_queue_set_desc(&rig->drv, 0, table, 3 * 16, INDIRECT, 0);
	fake_queue_offer(&rig->drv, 0);
	fake_queue_publish(&rig->drv);
	return rig;
}

/* What virtq_pop() and, where that found something, blk_request_parse() say. */
static int take(struct rig *rig, int *verdict)
{
	static struct iovec spill[VIRTQ_MAX_CHAIN];
	struct block_backend be = { .size = 1 << 20, .block_size = 512, .can_discard = true };
	struct blk_request req = { .spill = spill };
	struct blk_limits limits;
	int ret;

	blk_limits_init(&limits, &be, be.size, 1ULL << VIRTIO_BLK_F_DISCARD, "x");
	catch_signals();
	allow(PROT_NONE);
	ret = virtq_pop(&rig->vq, &rig->chain);
	*verdict = ret == 1 ? blk_request_parse(&req, &rig->chain, &limits) : 0;
	allow(PROT_READ | PROT_WRITE);
	if (*verdict == BLK_START)
		assert_true(req.offset + req.len <= limits.size);
	return ret;
}

/* What access `i` has read: a half of a descriptor, an index. A header is copied by the C library, which
 * may read on both sides of the middle; the copy is used. */
static uintptr_t word_of(unsigned i)
{
	const uintptr_t at = watch.seen[i] - (uintptr_t)watch.start;

	if (at >= HEADER)
		return HEADER + i;
	return at < 4096 || at >= 3 * 4096 ? at / 8 * 8 : at;
}

static void expect_read_once(uint32_t type, bool with_range)
{
	struct rig *rig = offer(type, with_range);
	int verdict;

	assert_int_equal(take(rig, &verdict), 1);
	assert_int_equal(verdict, BLK_START);
	assert_true(watch.nseen >= 6); /* index, head, three descriptors, a header */
	for (unsigned i = 0; i < watch.nseen; i++)
		for (unsigned k = 0; k < i; k++)
			if (word_of(i) == word_of(k))
				fail_msg("%#lx is read twice, by access %u and %u", word_of(i), k,
					 i);
	rig_free(rig);
}

static void H12_each_word_of_a_ring_is_read_once(void **state)
{
	expect_read_once(VIRTIO_BLK_T_IN, false);
	expect_read_once(VIRTIO_BLK_T_DISCARD, true);
}

/* The guest changes all of it after access number `at`. Is there one? */
static bool change_after(unsigned at, uint32_t type, bool with_range)
{
	struct rig *rig = offer(type, with_range);
	int verdict, ret;

	watch.change_at = at;
	ret = take(rig, &verdict);
	if (ret == 1)
		expect_checked(rig);
	else
		assert_int_equal(ret, -EPROTO);
	rig_free(rig);
	return watch.nseen >= at;
}

/* Whenever that is, what comes out has been checked. */
static void H12_a_change_between_any_two_accesses_does_no_harm(void **state)
{
	unsigned reads = 0, discards = 0;

	while (change_after(reads + 1, VIRTIO_BLK_T_IN, false))
		reads++;
	while (change_after(discards + 1, VIRTIO_BLK_T_DISCARD, true))
		discards++;
	assert_true(reads >= 6 && discards > reads);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(H12_each_word_of_a_ring_is_read_once),
		cmocka_unit_test(H12_a_change_between_any_two_accesses_does_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

int main(void)
{
	puts("1..0 # SKIP needs an x86 without TSan");
	return 77;
}

#endif
