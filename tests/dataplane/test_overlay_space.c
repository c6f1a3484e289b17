/* SPDX-License-Identifier: Apache-2.0 */
/* Space for an overlay's writes is made by a worker, before they go, and given back. */
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "tests/dataplane/slow.h"
#include "virtio/blk/overlay.h"

#define MIB	  (1U << 20)
#define PER_CHUNK (MIB / 512)
#define BLOCK	  4096

/* Our own fallocate(): what it was asked for, and by whom. */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned n; /* requests for space */
	off_t offset;
	off_t len;
	char thread[16];
	int error;
	bool hold;
	off_t room;		    /* that the host has left */
	bool has[RIG_SIZE / BLOCK]; /* where it gave some */
} space = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

/* As ext4 does: it finds block after block, and keeps what it has when there are no more. */
static int give_blocks(off_t offset, off_t len)
{
	for (off_t block = offset / BLOCK; block < (offset + len) / BLOCK; block++) {
		if (space.has[block])
			continue;
		if (space.room < BLOCK)
			return ENOSPC;
		space.room -= BLOCK;
		space.has[block] = true;
	}
	return 0;
}

static int make_space(int fd, off_t offset, off_t len)
{
	int ret = -1;

	pthread_mutex_lock(&space.lock);
	space.n++;
	space.offset = offset;
	space.len = len;
	prctl(PR_GET_NAME, space.thread);
	pthread_cond_broadcast(&space.changed);
	while (space.hold)
		pthread_cond_wait(&space.changed, &space.lock);
	errno = space.error ? space.error : give_blocks(offset, len);
	if (!errno)
		ret = syscall(SYS_fallocate, fd, FALLOC_FL_KEEP_SIZE, offset, len);
	pthread_mutex_unlock(&space.lock);
	return ret;
}

int fallocate(int fd, int mode, off_t offset, off_t len)
{
	if (mode == FALLOC_FL_KEEP_SIZE)
		return make_space(fd, offset, len);
	return syscall(SYS_fallocate, fd, mode, offset, len);
}

static void set_space(int error, bool hold)
{
	pthread_mutex_lock(&space.lock);
	space.error = error;
	space.hold = hold;
	pthread_cond_broadcast(&space.changed);
	pthread_mutex_unlock(&space.lock);
}

static unsigned asked(void)
{
	unsigned n;

	pthread_mutex_lock(&space.lock);
	n = space.n;
	pthread_mutex_unlock(&space.lock);
	return n;
}

static void wait_asked(unsigned n)
{
	for (unsigned i = 0; i < RIG_WAIT_MS && asked() != n; i++)
		usleep(1000);
	assert_int_equal(asked(), n);
}

static struct rig *overlay_rig(struct rig_config config)
{
	struct rig *rig;

	space.n = slow.writes = 0;
	space.room = RIG_SIZE;
	memset(space.has, 0, sizeof(space.has));
	set_space(0, false);
	config.overlay = true;
	config.features |= F_RANGES;
	rig = rig_new(config);
	/* /var/tmp may be in memory, or know no direct I/O. */
	if (!rig->be.overlay->reserves && !config.aio && !config.overlay_dir) {
		rig_free(rig);
		skip();
	}
	return rig;
}

static void write_at(struct rig *rig, const struct rig_req *r, uint64_t sector, uint32_t sectors)
{
	const uint32_t len = sectors * 512;
	uint8_t *data = rig_ptr(rig, r->data);

	memset(data, 0x77, len);
	assert_int_equal(rig_do(rig, r, VIRTIO_BLK_T_OUT, sector, len), VIRTIO_BLK_S_OK);
	memset(data, 0, len);
	assert_int_equal(rig_do(rig, r, VIRTIO_BLK_T_IN, sector, len), VIRTIO_BLK_S_OK);
	/* The first byte is right, and all are like their neighbours. */
	assert_true(data[0] == 0x77 && !memcmp(data, data + 1, len - 1));
}

static void give_back(struct rig *rig, const struct rig_req *r, uint32_t type, uint64_t sector,
		      uint32_t sectors)
{
	struct virtio_blk_discard_write_zeroes *seg = rig_ptr(rig, r->data);

	*seg = (struct virtio_blk_discard_write_zeroes){
		sector, sectors,
		type == VIRTIO_BLK_T_WRITE_ZEROES ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0
	};
	assert_int_equal(rig_do(rig, r, type, 0, sizeof(*seg)), VIRTIO_BLK_S_OK);
}

static uint64_t blocks_of(const struct rig *rig)
{
	struct stat st;

	assert_int_equal(fstat(rig->be.fd, &st), 0);
	return st.st_blocks;
}

/* ---------------------------------------------------------------------------------------------- */

static void a_worker_makes_space_once_for_a_chunk(void **state)
{
	struct rig *rig = overlay_rig((struct rig_config){ 0 });
	struct rig_req r = rig_req(rig, 2 * MIB);

	write_at(rig, &r, PER_CHUNK + 8, 8);
	assert_int_equal(asked(), 2); /* from there to its end, and what is before */
	assert_true(space.offset == MIB && space.len == 4096);
	assert_string_equal(space.thread, "blk-test-w0");
	assert_in_range(blocks_of(rig), PER_CHUNK, PER_CHUNK + 64);
	write_at(rig, &r, PER_CHUNK, 8);
	write_at(rig, &r, 2 * PER_CHUNK - 8, 8);
	assert_int_equal(asked(), 2);
	write_at(rig, &r, 2 * PER_CHUNK - 8, 16); /* across the end */
	assert_int_equal(asked(), 3);
	assert_true(space.offset == 2 * MIB && space.len == MIB);
	write_at(rig, &r, PER_CHUNK - 8, 2 * PER_CHUNK + 16); /* two chunks, and two are there */
	assert_int_equal(asked(), 6);
	rig_free(rig);
}

static void the_last_chunk_ends_with_the_disk(void **state)
{
	struct rig *rig, *owner = rig_new((struct rig_config){ .readonly = true });
	struct rig_req r;

	assert_int_equal(truncate(owner->path, RIG_SIZE - MIB + 4096), 0);
	rig = overlay_rig((struct rig_config){ .image = owner->path });
	r = rig_req(rig, 4096);
	write_at(rig, &r, RIG_SECTORS - PER_CHUNK, 8);
	assert_int_equal(asked(), 1);
	assert_true(space.offset == RIG_SIZE - MIB && space.len == 4096);
	rig_free(rig);
	rig_free(owner);
}

/* While the host looks for blocks the disk goes on, and the write that wants them is not with
 * io_submit(), which would wait for them. */
static void nothing_but_the_write_waits_for_space(void **state)
{
	struct rig *rig = overlay_rig((struct rig_config){ .no_look = true });
	struct rig_req w = rig_req(rig, 4096), r = rig_req(rig, 4096);
	struct fake_done done;

	write_at(rig, &r, 0, 8);
	set_space(0, true);
	assert_true(rig_queue(rig, 0, &w, VIRTIO_BLK_T_OUT, PER_CHUNK, 4096, 2) >= 0);
	rig_kick(rig, 0);
	wait_asked(2);
	for (unsigned i = 0; i < 10; i++)
		write_at(rig, &r, 8 * i, 8);
	assert_int_equal(slow.writes, 11);
	set_space(0, false);
	assert_true(rig_wait(rig, 0, &done));
	assert_int_equal(done.cookie, 2);
	assert_int_equal(slow.writes, 12);
	rig_free(rig);
}

static void no_space_ahead_is_no_error(void **state)
{
	static const int errors[] = { ENOSPC, EOPNOTSUPP, EIO, EDQUOT };

	for (unsigned i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		struct rig *rig = overlay_rig((struct rig_config){ 0 });
		struct rig_req r = rig_req(rig, 4096);

		set_space(errors[i], false);
		write_at(rig, &r, 0, 8);
		write_at(rig, &r, 8, 8);
		assert_int_equal(asked(), 1);
		assert_int_equal(blk_dataplane_stats(rig->dp)->errors, 0);
		rig_free(rig);
	}
}

/* A full host has room for this much more and what is written, wherever that lies in its chunks. */
static void check_room(uint64_t sector, uint32_t sectors, off_t more)
{
	struct rig *rig = overlay_rig((struct rig_config){ 0 });
	struct rig_req r = rig_req(rig, 2 * MIB);

	space.room = sectors * 512 + more;
	write_at(rig, &r, sector, sectors);
	for (uint64_t s = sector; s < sector + sectors; s += BLOCK / 512)
		assert_true(space.has[s / (BLOCK / 512)]);
	rig_free(rig);
}

static void what_is_written_gets_the_last_blocks(void **state)
{
	for (off_t more = 0; more < MIB; more += MIB / 4) {
		check_room(0, 8, more);
		check_room(PER_CHUNK + 8, 8, more);
		check_room(2 * PER_CHUNK - 8, 8, more);
		check_room(RIG_SECTORS - 8, 8, more);
		check_room(2 * PER_CHUNK - 8, 16, 0);
		check_room(PER_CHUNK - 8, 2 * PER_CHUNK + 8, more);
	}
}

/* What a discard gave back is not taken again before it is needed: of a part, only what is written. */
static void a_discard_gives_it_back(void **state)
{
	static const uint32_t types[] = { VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES };

	for (unsigned i = 0; i < 2; i++) {
		struct rig *rig = overlay_rig((struct rig_config){ 0 });
		struct rig_req r = rig_req(rig, 4096);

		write_at(rig, &r, 0, 8);
		write_at(rig, &r, PER_CHUNK, 8);
		give_back(rig, &r, types[i], 8, PER_CHUNK - 8);
		write_at(rig, &r, 0, 16);
		assert_int_equal(asked(), 2);
		assert_in_range(blocks_of(rig), PER_CHUNK, PER_CHUNK + 128);
		give_back(rig, &r, types[i], PER_CHUNK - 8, PER_CHUNK + 16);
		assert_true(blocks_of(rig) < 128);
		write_at(rig, &r, 0, 8);
		assert_int_equal(asked(), 2);
		write_at(rig, &r, 2 * PER_CHUNK - 8, 8);
		assert_int_equal(asked(), 4);
		assert_true(space.offset == MIB && space.len == MIB - 4096);
		rig_free(rig);
	}
}

/* In memory there is nothing to look for, and workers may wait. */
static void none_is_made_where_nothing_would_wait(void **state)
{
	static const struct rig_config configs[] = {
		{ .dir = "/dev/shm", .overlay_dir = "/dev/shm" },
		{ .aio = DISK_AIO_THREADS },
		{ .aio = DISK_AIO_THREADS, .cache = DISK_CACHE_WRITEBACK },
	};

	for (unsigned i = 0; i < 3; i++) {
		struct rig *rig = overlay_rig(configs[i]);
		struct rig_req r = rig_req(rig, 4096);

		write_at(rig, &r, 0, 8);
		assert_int_equal(asked(), 0);
		rig_free(rig);
	}
}

/* A chunk's first writes all wait for the same space, and none waits for ever. */
static void many_writes_share_what_is_made(void **state)
{
	struct rig *rig = overlay_rig((struct rig_config){ .features = F_EVENT });
	struct rig_req r[32];
	struct fake_done done;

	set_space(0, true);
	for (unsigned i = 0; i < 32; i++) {
		r[i] = rig_req(rig, 4096);
		assert_true(rig_queue(rig, 0, &r[i], VIRTIO_BLK_T_OUT, 16 * i, 4096, i) >= 0);
	}
	rig_kick(rig, 0);
	wait_asked(1);
	set_space(0, false);
	for (unsigned i = 0; i < 32; i++) {
		assert_true(rig_wait(rig, 0, &done));
		assert_int_equal(rig_status(rig, &r[done.cookie]), VIRTIO_BLK_S_OK);
	}
	assert_int_equal(asked(), 1);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_worker_makes_space_once_for_a_chunk),
		cmocka_unit_test(the_last_chunk_ends_with_the_disk),
		cmocka_unit_test(nothing_but_the_write_waits_for_space),
		cmocka_unit_test(no_space_ahead_is_no_error),
		cmocka_unit_test(what_is_written_gets_the_last_blocks),
		cmocka_unit_test(a_discard_gives_it_back),
		cmocka_unit_test(none_is_made_where_nothing_would_wait),
		cmocka_unit_test(many_writes_share_what_is_made),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
