/* SPDX-License-Identifier: Apache-2.0 */
/* Opening images: the engine and the cache mode they get, with and without an overlay. */
#include "tests/unit/backend_rig.h"

static void the_engine_is_what_was_asked_for(void **state)
{
	static const struct {
		int cache, aio;
		enum disk_cache got_cache;
		enum disk_aio got_aio;
	} cases[] = {
		{ DISK_AUTO, DISK_AUTO, DISK_CACHE_NONE, DISK_AIO_NATIVE },
		{ DISK_CACHE_NONE, DISK_AUTO, DISK_CACHE_NONE, DISK_AIO_NATIVE },
		{ DISK_CACHE_NONE, DISK_AIO_THREADS, DISK_CACHE_NONE, DISK_AIO_THREADS },
		{ DISK_AUTO, DISK_AIO_NATIVE, DISK_CACHE_NONE, DISK_AIO_NATIVE },
		{ DISK_AUTO, DISK_AIO_THREADS, DISK_CACHE_NONE, DISK_AIO_THREADS },
		{ DISK_CACHE_WRITEBACK, DISK_AUTO, DISK_CACHE_WRITEBACK, DISK_AIO_THREADS },
		{ DISK_CACHE_UNSAFE, DISK_AIO_THREADS, DISK_CACHE_UNSAFE, DISK_AIO_THREADS },
	};
	struct rig *rig = *state;

	make_file(rig, 1 << 20);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		rig->config.cache = cases[i].cache;
		rig->config.aio = cases[i].aio;
		expect_open(rig, cases[i].got_cache, cases[i].got_aio);
		assert_string_equal(rig->said, "");
		block_backend_close(&rig->be);
	}
}

static void native_aio_without_direct_io_is_refused(void **state)
{
	struct rig *rig = *state;

	make_file(rig, 1 << 20);
	rig->config.cache = DISK_CACHE_WRITEBACK;
	rig->config.aio = DISK_AIO_NATIVE;
	expect_refused(rig, EINVAL, "aio=native needs cache=none");
}

static void without_direct_io_there_is_a_fallback_and_a_notice(void **state)
{
	struct rig *rig = *state;

	make_file(rig, 1 << 20);
	fault.dio = true; /* 0 and 0: statx()'s way of saying no */
	expect_open(rig, DISK_CACHE_WRITEBACK, DISK_AIO_THREADS);
	assert_non_null(strstr(rig->said, "using cache=writeback,aio=threads"));
	assert_int_equal(rig->be.mem_align, 1);
	assert_int_equal(rig->be.offset_align, 1);
	block_backend_close(&rig->be);
}

static void what_was_named_is_not_replaced(void **state)
{
	struct rig *rig = *state;

	make_file(rig, 1 << 20);
	fault.dio = true;
	rig->config.cache = DISK_CACHE_NONE;
	expect_refused(rig, EINVAL, "cannot use cache=none");
	rig->config.cache = DISK_AUTO;
	rig->config.aio = DISK_AIO_NATIVE;
	expect_refused(rig, EINVAL, "cannot use aio=native");
}

static void host_blocks_larger_than_the_guests_fall_back(void **state)
{
	struct rig *rig = *state;

	make_file(rig, 1 << 20);
	fault.dio = true;
	fault.mem = 512;
	fault.offset = 4096;
	expect_open(rig, DISK_CACHE_WRITEBACK, DISK_AIO_THREADS);
	assert_non_null(strstr(rig->said, "block-size="));
	block_backend_close(&rig->be);
	rig->config.block_size = 4096;
	expect_open(rig, DISK_CACHE_NONE, DISK_AIO_NATIVE);
	assert_int_equal(rig->be.offset_align, 4096);
	assert_string_equal(rig->said, "");
	block_backend_close(&rig->be);
}

/* Any number of disks, and of others that only read it, may share the image. */
static void an_overlay_only_reads_its_image(void **state)
{
	struct rig *rig = *state;
	struct block_backend first, second;
	struct stat base, file;

	make_file(rig, (1 << 20) + 37);
	rig->config.overlay = true;
	expect_open(rig, DISK_CACHE_NONE, DISK_AIO_NATIVE);
	first = rig->be;
	expect_open(rig, DISK_CACHE_NONE, DISK_AIO_NATIVE);
	assert_int_equal(fcntl(rig->be.overlay->base_fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	assert_true(is_direct(rig->be.overlay->base_fd) && is_direct(rig->be.fd));
	assert_false(rig->be.readonly);
	assert_true(rig->be.can_discard);
	assert_int_equal(rig->be.size, 1 << 20);
	assert_int_equal(fstat(rig->be.fd, &file), 0);
	assert_int_equal(file.st_size, 1 << 20);
	assert_int_equal(stat(rig->path, &base), 0);
	assert_true(rig->be.dev == base.st_dev && rig->be.ino == base.st_ino);
	assert_true(file.st_ino != base.st_ino);
	assert_int_equal(block_backend_check_size(&rig->be, rig->path, 2 << 20, &rig->err),
			 -EINVAL);
	assert_non_null(strstr(rig->err.text, "keeps its size"));
	second = rig->be;
	block_backend_close(&first);
	rig->config.overlay = false;
	expect_refused(rig, EAGAIN, "in use");
	block_backend_close(&second);
}

static void an_overlay_waits_for_no_writer(void **state)
{
	struct rig *rig = *state;
	struct block_backend writer;

	make_file(rig, 1 << 20);
	expect_open(rig, DISK_CACHE_NONE, DISK_AIO_NATIVE);
	writer = rig->be;
	rig->config.overlay = true;
	expect_refused(rig, EAGAIN, "being written");
	block_backend_close(&writer);
}

/* Also when only one of the two cannot. */
static void both_files_of_an_overlay_are_direct_or_none(void **state)
{
	struct rig *rig = *state;

	make_file(rig, 1 << 20);
	rig->config.overlay = true;
	for (fault.dio_of = 1; fault.dio_of <= 2; fault.dio_of++) {
		fault.dio = true;
		fault.dio_seen = 0;
		expect_open(rig, DISK_CACHE_WRITEBACK, DISK_AIO_THREADS);
		assert_non_null(strstr(rig->said, "using cache=writeback,aio=threads"));
		assert_false(is_direct(rig->be.overlay->base_fd));
		assert_int_equal(rig->be.offset_align, 1);
		block_backend_close(&rig->be);
	}
}

/* The stricter rule of both, and no run of either file that breaks it. */
static void an_overlay_obeys_the_stricter_file(void **state)
{
	struct rig *rig = *state;

	make_file(rig, 1 << 20);
	rig->config.overlay = true;
	rig->config.block_size = 4096;
	for (fault.dio_of = 1; fault.dio_of <= 2; fault.dio_of++) {
		fault.dio = true;
		fault.dio_seen = 0;
		fault.mem = 1024;
		fault.offset = 4096;
		expect_open(rig, DISK_CACHE_NONE, DISK_AIO_NATIVE);
		assert_int_equal(rig->be.mem_align, 1024);
		assert_int_equal(rig->be.offset_align, 4096);
		assert_int_equal(rig->be.overlay->align, 4096);
		block_backend_close(&rig->be);
	}
}

static void an_overlay_without_a_place_is_refused(void **state)
{
	struct rig *rig = *state;
	const int before = dup(0);

	make_file(rig, 1 << 20);
	rig->config.overlay = true;
	rig->config.overlay_dir = (char *)"/not/there";
	expect_refused(rig, ENOENT, "cannot create an overlay in '/not/there'");
	close(before);
	assert_int_equal(dup(0), before); /* nothing is left open */
	close(before);
	rig->config.overlay = false;
	expect_open(rig, DISK_CACHE_NONE, DISK_AIO_NATIVE);
	block_backend_close(&rig->be);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(the_engine_is_what_was_asked_for),
		T(native_aio_without_direct_io_is_refused),
		T(without_direct_io_there_is_a_fallback_and_a_notice),
		T(what_was_named_is_not_replaced),
		T(host_blocks_larger_than_the_guests_fall_back),
		T(an_overlay_only_reads_its_image),
		T(an_overlay_waits_for_no_writer),
		T(both_files_of_an_overlay_are_direct_or_none),
		T(an_overlay_obeys_the_stricter_file),
		T(an_overlay_without_a_place_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
