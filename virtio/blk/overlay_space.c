/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Space for what an overlay is going to take. io_submit() waits for a file system that has to find
 * blocks for a hole, and every other request of the disk with it. So the first write to a chunk goes
 * to a worker first, which asks the host for blocks for all of that chunk, and then to the engine.
 *
 * Failing is no error here: the write that follows hears of a full file system itself, or of none,
 * if there is room for what it brings. That comes first, because some file systems (ext4) keep the
 * blocks that they had found by the time they ran out:
 *
 *	chunks	|......ww|ww......|
 *	asked	   3   1     2
 *
 * Memory ordering: a bit is a hint about the file, not about memory, so relaxed accesses do. The
 * disk's thread finds the bit of a request that comes back from a worker set, for blk_pool_reap()
 * acquires what the worker did before. Any other it may see late: one more way to a worker, which
 * finds the bit set and asks for nothing. Or it sees one that a discard is taking away: then
 * io_submit() waits, as it would have without all this. Neither loses data.
 */
#include <errno.h>
#include <fcntl.h>

#include "virtio/blk/overlay.h"

#define CHUNK BLK_OVERLAY_CHUNK

/* False: the host has not all of it. */
static bool ask_host(int fd, uint64_t from, uint64_t to)
{
	int ret;

	do {
		ret = fallocate(fd, FALLOC_FL_KEEP_SIZE, from, to - from);
	} while (ret && errno == EINTR);
	return !ret;
}

static uint64_t chunk_end(const struct blk_overlay *ov, uint64_t chunk)
{
	const uint64_t end = (chunk + 1) * CHUNK;

	return end < ov->size ? end : ov->size;
}

void blk_overlay_make_space(struct blk_overlay *ov, int fd, uint64_t offset, uint64_t len)
{
	const uint64_t first = offset / CHUNK, last = (offset + len - 1) / CHUNK;
	bool before = offset % CHUNK && !blk_overlay_chunk_has_space(ov, first);

	for (uint64_t chunk = first; chunk <= last; chunk++)
		if (!blk_overlay_chunk_has_space(ov, chunk) &&
		    !ask_host(fd, chunk == first ? offset : chunk * CHUNK, chunk_end(ov, chunk)))
			before = false;
	if (before)
		ask_host(fd, first * CHUNK, offset);
	for (uint64_t chunk = first; chunk <= last; chunk++)
		atomic_fetch_or_explicit(&ov->space[chunk / 64], 1ULL << chunk % 64,
					 memory_order_relaxed);
}

void blk_overlay_gives_space(struct blk_overlay *ov, uint64_t offset, uint64_t len)
{
	const uint64_t first = (offset + CHUNK - 1) / CHUNK, end = (offset + len) / CHUNK;

	for (uint64_t chunk = first; chunk < end; chunk++)
		if (blk_overlay_chunk_has_space(ov, chunk))
			atomic_fetch_and_explicit(&ov->space[chunk / 64], ~(1ULL << chunk % 64),
						  memory_order_relaxed);
}
