/* SPDX-License-Identifier: Apache-2.0 */
/* What of the machine's assembly can be known without KVM: limits, images, the command line. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "vmm/cli/machine.h"

#define MANY 40

static void fill(struct disk_config *disk, unsigned n)
{
	static char paths[MANY][16];

	for (unsigned i = 0; i < n; i++) {
		snprintf(paths[i], sizeof(paths[i]), "disk%u", i);
		disk[i] = (struct disk_config){ .path = paths[i] };
	}
}

static void assert_limit(enum transport transport, unsigned limit)
{
	struct disk_config disk[MANY];
	struct run_options opt = { .transport = transport, .disk = disk, .ndisks = limit };
	struct error err = { 0 };
	char number[16], path[16];

	fill(disk, MANY);
	assert_int_equal(machine_check_options(&opt, &err), 0);
	opt.ndisks++;
	assert_int_equal(machine_check_options(&opt, &err), -EINVAL);
	snprintf(number, sizeof(number), "%u", limit);
	snprintf(path, sizeof(path), "'disk%u'", limit);
	assert_non_null(strstr(err.text, number));
	assert_non_null(strstr(err.text, path));
}

static void one_disk_too_many_is_refused_by_name(void **state)
{
	assert_limit(TRANSPORT_PCI, 31);
	assert_limit(TRANSPORT_MMIO, 18);
}

struct images {
	char dir[32];
	char a[64], b[64], link[64];
};

static void touch(const char *path)
{
	int fd = open(path, O_CREAT | O_WRONLY, 0600);

	assert_true(fd >= 0);
	close(fd);
}

static int make_images(void **state)
{
	struct images *im = calloc(1, sizeof(*im));

	strcpy(im->dir, "/tmp/mvmm-test-XXXXXX");
	if (!mkdtemp(im->dir))
		return -1;
	snprintf(im->a, sizeof(im->a), "%s/a", im->dir);
	snprintf(im->b, sizeof(im->b), "%s/b", im->dir);
	snprintf(im->link, sizeof(im->link), "%s/link", im->dir);
	touch(im->a);
	touch(im->b);
	*state = im;
	return link(im->a, im->link);
}

static int remove_images(void **state)
{
	struct images *im = *state;

	unlink(im->a);
	unlink(im->b);
	unlink(im->link);
	rmdir(im->dir);
	free(im);
	return 0;
}

static int check_two(char *first, bool first_ro, char *second, bool second_ro, struct error *err)
{
	struct disk_config disk[] = { { .path = first, .readonly = first_ro },
				      { .path = second, .readonly = second_ro } };
	struct run_options opt = { .disk = disk, .ndisks = 2 };

	return machine_check_images(&opt, err);
}

static void one_image_twice_is_refused_by_any_name(void **state)
{
	struct images *im = *state;
	struct error err = { 0 };

	assert_int_equal(check_two(im->a, false, im->b, false, &err), 0);
	assert_int_equal(check_two(im->a, false, im->a, false, &err), -EBUSY);
	assert_int_equal(check_two(im->a, false, im->link, false, &err), -EBUSY);
	assert_non_null(strstr(err.text, im->a));
	assert_non_null(strstr(err.text, im->link));
	assert_int_equal(check_two(im->a, true, im->link, false, &err), -EBUSY);
}

static void readonly_disks_may_share_an_image(void **state)
{
	struct images *im = *state;

	assert_int_equal(check_two(im->a, true, im->link, true, NULL), 0);
}

static void disks_with_overlays_may_share_an_image(void **state)
{
	struct images *im = *state;
	struct disk_config disk[] = { { .path = im->a, .overlay = true },
				      { .path = im->link, .overlay = true },
				      { .path = im->a, .readonly = true },
				      { .path = im->link } };
	struct run_options opt = { .disk = disk, .ndisks = 3 };
	struct error err = { 0 };

	assert_int_equal(machine_check_images(&opt, NULL), 0);
	opt.ndisks = 4;
	assert_int_equal(machine_check_images(&opt, &err), -EBUSY);
	assert_non_null(strstr(err.text, "overlay"));
}

static void missing_images_are_left_to_their_opening(void **state)
{
	char missing[] = "/nonexistent/image";

	assert_int_equal(check_two(missing, false, missing, false, NULL), 0);
}

static void assert_cmdline(const struct run_options *opt, const char *expected)
{
	char *line = machine_cmdline(opt);

	assert_string_equal(line, expected);
	free(line);
}

static void the_users_words_come_after_ours(void **state)
{
	struct run_options opt = { 0 };

	assert_cmdline(&opt, "console=ttyS0 reboot=k panic=-1");
	opt.append = "root=/dev/vda -- x";
	assert_cmdline(&opt, "console=ttyS0 reboot=k panic=-1 root=/dev/vda -- x");
	opt.no_default_append = true;
	assert_cmdline(&opt, "root=/dev/vda -- x");
	opt.append = NULL;
	assert_cmdline(&opt, "");
}

/* Documentation/admin-guide/kernel-parameters.txt: virtio_mmio.device=size@baseaddr:irq */
static void mmio_devices_are_announced_in_order(void **state)
{
	struct disk_config disk[2] = { 0 };
	struct run_options opt = {
		.no_default_append = true,
		.transport = TRANSPORT_MMIO,
		.mmio_cmdline = true,
		.disk = disk,
		.ndisks = 2,
		.append = "-- init",
	};

	assert_cmdline(&opt, "virtio_mmio.device=4K@0xd0000000:6 "
			     "virtio_mmio.device=4K@0xd0001000:7 -- init");
	opt.mmio_cmdline = false;
	assert_cmdline(&opt, "-- init");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_disk_too_many_is_refused_by_name),
		cmocka_unit_test_setup_teardown(one_image_twice_is_refused_by_any_name, make_images,
						remove_images),
		cmocka_unit_test_setup_teardown(readonly_disks_may_share_an_image, make_images,
						remove_images),
		cmocka_unit_test_setup_teardown(disks_with_overlays_may_share_an_image, make_images,
						remove_images),
		cmocka_unit_test(missing_images_are_left_to_their_opening),
		cmocka_unit_test(the_users_words_come_after_ours),
		cmocka_unit_test(mmio_devices_are_announced_in_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
