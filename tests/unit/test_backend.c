/* SPDX-License-Identifier: Apache-2.0 */
/* Opening images: what is refused, what is said, and how large they are. */
#include "tests/unit/backend_rig.h"

static void a_missing_image_is_refused(void **state)
{
	expect_refused(*state, ENOENT, "cannot open: No such file");
}

static void a_directory_is_refused(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(mkdir(rig->path, 0700), 0);
	expect_refused(rig, EINVAL, "is a directory");
	rmdir(rig->path);
}

static void a_pipe_is_refused_and_not_waited_for(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(mkfifo(rig->path, 0600), 0);
	expect_refused(rig, EINVAL, "is a pipe");
}

static void a_socket_is_refused(void **state)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct rig *rig = *state;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", rig->path);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	expect_refused(rig, EINVAL, "is a socket");
	close(fd);
}

static void a_character_device_is_refused(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(symlink("/dev/zero", rig->path), 0);
	expect_refused(rig, EINVAL, "is a character device");
}

static void an_empty_image_is_refused(void **state)
{
	struct rig *rig = *state;

	make_file(rig, 0);
	expect_refused(rig, EINVAL, "is empty");
	make_file(rig, 511);
	expect_refused(rig, EINVAL, "is empty (511 bytes)");
	make_file(rig, 4095);
	rig->config.block_size = 4096;
	expect_refused(rig, EINVAL, "is empty");
}

static void an_image_that_may_only_be_read_suggests_readonly(void **state)
{
	static const int codes[] = { EACCES, EROFS, EPERM };
	struct rig *rig = *state;

	make_file(rig, 4096);
	for (unsigned i = 0; i < 3; i++) {
		fault.open_errno = codes[i];
		rig->config.readonly = false;
		expect_refused(rig, codes[i], "'readonly'");
		rig->config.readonly = true;
		expect_refused(rig, codes[i], "cannot open");
		assert_null(strstr(rig->err.text, "'readonly'"));
	}
}

static void a_device_the_host_uses_is_refused(void **state)
{
	struct rig *rig = *state;

	make_file(rig, 4096);
	fault.open_errno = EBUSY;
	expect_refused(rig, EBUSY, "mounted");
}

static void an_image_in_use_is_refused(void **state)
{
	struct rig *rig = *state;
	struct block_backend first;

	make_file(rig, 4096);
	expect_open(rig, DISK_CACHE_NONE, DISK_AIO_NATIVE);
	first = rig->be;
	expect_refused(rig, EAGAIN, "locked by another process (mvmm or QEMU)");
	rig->config.readonly = true;
	expect_refused(rig, EAGAIN, "being written");
	block_backend_close(&first);
	expect_open(rig, DISK_CACHE_NONE, DISK_AIO_NATIVE);
	block_backend_close(&rig->be);
}

static void readonly_images_are_shared_and_opened_for_reading(void **state)
{
	struct rig *rig = *state;
	struct block_backend first;

	make_file(rig, 4096);
	rig->config.readonly = true;
	expect_open(rig, DISK_CACHE_NONE, DISK_AIO_NATIVE);
	first = rig->be;
	expect_open(rig, DISK_CACHE_NONE, DISK_AIO_NATIVE);
	assert_int_equal(fcntl(rig->be.fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	assert_true(rig->be.readonly);
	assert_false(rig->be.can_discard);
	assert_true(first.dev == rig->be.dev && first.ino == rig->be.ino);
	block_backend_close(&rig->be);
	block_backend_close(&first);
}

static void a_tail_is_hidden_with_a_warning_and_kept(void **state)
{
	struct rig *rig = *state;
	char tail[37] = "the tail of somebody's file", now[37] = "";
	int fd;

	make_file(rig, 1000000 - 1000000 % 512);
	fd = open(rig->path, O_RDWR | O_CLOEXEC);
	assert_int_equal(pwrite(fd, tail, sizeof(tail), 1000000 - 1000000 % 512), sizeof(tail));
	expect_open(rig, DISK_CACHE_NONE, DISK_AIO_NATIVE);
	assert_int_equal(rig->be.size, 1000000 - 1000000 % 512);
	assert_non_null(strstr(rig->said, "last 37 bytes"));
	/* The probe for discard must not have touched it. */
	assert_int_equal(pread(fd, now, sizeof(now), rig->be.size), sizeof(now));
	assert_memory_equal(now, tail, sizeof(tail));
	close(fd);
	block_backend_close(&rig->be);
}

static void whole_images_are_opened_without_a_word(void **state)
{
	struct rig *rig = *state;

	make_file(rig, 1 << 20);
	expect_open(rig, DISK_CACHE_NONE, DISK_AIO_NATIVE);
	assert_string_equal(rig->said, "");
	assert_int_equal(rig->be.size, 1 << 20);
	assert_true(rig->be.can_discard);
	assert_int_equal(rig->be.physical_block_size, 4096);
	block_backend_close(&rig->be);
}

static bool is_open(const char *path)
{
	char name[32], target[128];

	for (int fd = 0; fd < 256; fd++) {
		snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
		memset(target, 0, sizeof(target));
		if (readlink(name, target, sizeof(target) - 1) > 0 && !strcmp(target, path))
			return true;
	}
	return false;
}

/* What a guest could have written into its disk: 1 TiB, and a file of the host behind it. */
static void a_qcow2_header_is_content_and_warned_of(void **state)
{
	/* Big endian: magic, version 2, backing file at 104, its length, clusters of 64 KiB, size */
	uint8_t header[512] = "QFI\xfb\0\0\0\2\0\0\0\0\0\0\0\x68\0\0\0\0"
			      "\0\0\0\x10\0\0\1\0\0\0\0\0";
	struct rig *rig = *state;
	char secret[128], *as_read = aligned_alloc(4096, 4096);
	int fd;

	snprintf(secret, sizeof(secret), "%s/secret", rig->dir);
	header[19] = strlen(secret);
	make_file(rig, 1 << 20);
	fd = open(secret, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	fd = open(rig->path, O_RDWR | O_CLOEXEC);
	assert_int_equal(pwrite(fd, header, sizeof(header), 0), sizeof(header));
	assert_int_equal(pwrite(fd, secret, strlen(secret), 104), strlen(secret));
	close(fd);
	expect_open(rig, DISK_CACHE_NONE, DISK_AIO_NATIVE);
	assert_non_null(strstr(rig->said, "qcow2"));
	assert_non_null(strstr(rig->said, "qemu-img convert -O raw "));
	assert_int_equal(rig->be.size, 1 << 20);
	assert_true(is_open(rig->path) && !is_open(secret));
	assert_int_equal(pread(rig->be.fd, as_read, 4096, 0), 4096);
	assert_memory_equal(as_read, header, 104);
	free(as_read);
	block_backend_close(&rig->be);
	unlink(secret);
}

static void a_hard_link_is_the_same_image(void **state)
{
	struct rig *rig = *state;
	struct block_backend first;
	char link_path[128];

	make_file(rig, 4096);
	rig->config.readonly = true;
	snprintf(link_path, sizeof(link_path), "%s/other.img", rig->dir);
	assert_int_equal(link(rig->path, link_path), 0);
	expect_open(rig, DISK_CACHE_NONE, DISK_AIO_NATIVE);
	first = rig->be;
	rig->config.path = link_path;
	expect_open(rig, DISK_CACHE_NONE, DISK_AIO_NATIVE);
	assert_true(first.dev == rig->be.dev && first.ino == rig->be.ino);
	block_backend_close(&rig->be);
	block_backend_close(&first);
	unlink(link_path);
}

static void the_size_of_an_image_in_use_is_followed(void **state)
{
	struct rig *rig = *state;
	uint64_t bytes;

	make_file(rig, 1 << 20);
	expect_open(rig, DISK_CACHE_NONE, DISK_AIO_NATIVE);
	make_file(rig, (3 << 20) + 100);
	assert_int_equal(block_backend_probe_size(&rig->be, rig->path, &bytes, &rig->err), 0);
	assert_int_equal(bytes, 3 << 20);
	assert_int_equal(rig->be.size, 1 << 20);
	make_file(rig, 100);
	assert_int_equal(block_backend_probe_size(&rig->be, rig->path, &bytes, &rig->err), -EINVAL);
	assert_non_null(strstr(rig->err.text, "is empty (100 bytes)"));
	block_backend_close(&rig->be);
}

static void the_size_of_an_image_in_use_is_changed(void **state)
{
	struct rig *rig = *state;
	struct stat st;

	make_file(rig, 1 << 20);
	expect_open(rig, DISK_CACHE_NONE, DISK_AIO_NATIVE);
	assert_int_equal(block_backend_check_size(&rig->be, rig->path, 2 << 20, &rig->err), 0);
	assert_int_equal(block_backend_set_size(&rig->be, rig->path, 2 << 20, &rig->err), 0);
	assert_int_equal(stat(rig->path, &st), 0);
	assert_int_equal(st.st_size, 2 << 20);
	assert_int_equal(block_backend_set_size(&rig->be, rig->path, 512, &rig->err), 0);
	assert_int_equal(stat(rig->path, &st), 0);
	assert_int_equal(st.st_size, 512);
	block_backend_close(&rig->be);
}

static void sizes_that_no_image_can_have_are_refused(void **state)
{
	static const uint64_t odd[] = { 0, 1, 511, 513, (1ULL << 62) + 512, -512ULL };
	struct rig *rig = *state;

	make_file(rig, 1 << 20);
	expect_open(rig, DISK_CACHE_NONE, DISK_AIO_NATIVE);
	for (unsigned i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
		assert_int_equal(block_backend_check_size(&rig->be, rig->path, odd[i], &rig->err),
				 -EINVAL);
	rig->be.block_device = true;
	assert_int_equal(block_backend_check_size(&rig->be, rig->path, 512, &rig->err), -EINVAL);
	assert_non_null(strstr(rig->err.text, "only follows"));
	rig->be.block_device = false;
	rig->be.readonly = true;
	assert_int_equal(block_backend_check_size(&rig->be, rig->path, 512, &rig->err), -EROFS);
	block_backend_close(&rig->be);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_missing_image_is_refused),
		T(a_directory_is_refused),
		T(a_pipe_is_refused_and_not_waited_for),
		T(a_socket_is_refused),
		T(a_character_device_is_refused),
		T(an_empty_image_is_refused),
		T(an_image_that_may_only_be_read_suggests_readonly),
		T(a_device_the_host_uses_is_refused),
		T(an_image_in_use_is_refused),
		T(readonly_images_are_shared_and_opened_for_reading),
		T(a_tail_is_hidden_with_a_warning_and_kept),
		T(whole_images_are_opened_without_a_word),
		T(a_qcow2_header_is_content_and_warned_of),
		T(a_hard_link_is_the_same_image),
		T(the_size_of_an_image_in_use_is_followed),
		T(the_size_of_an_image_in_use_is_changed),
		T(sizes_that_no_image_can_have_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
