/* SPDX-License-Identifier: Apache-2.0 */
/* PATCH of a disk, also while it, or another one of its group, is being taken away; and all disks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "tests/control/fake_machine.h"
#include "vmm/cli/api/server.h"
#include "vmm/cli/kept.h"

struct change_rig {
	struct fake_machine fake;
	struct loop loop;
	struct api_context ctx;
	struct api_server *server;
	int listener;
	struct sockaddr_un addr;
	socklen_t addr_len;
};

static int setup(void **state)
{
	struct change_rig *rig = calloc(1, sizeof(*rig));
	struct error err;

	if (!rig || fake_machine_open(&rig->fake))
		return -1;
	rig->ctx = (struct api_context){ .routes = api_routes,
					 .machine = &rig->fake.m,
					 .loop = &rig->loop };
	rig->addr.sun_family = AF_UNIX;
	rig->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	/* An address of the kernel's choice. */
	rig->addr_len = sizeof(rig->addr);
	if (bind(rig->listener, (struct sockaddr *)&rig->addr, sizeof(sa_family_t)) ||
	    listen(rig->listener, 1) ||
	    getsockname(rig->listener, (struct sockaddr *)&rig->addr, &rig->addr_len))
		return -1;
	rig->server = api_open(rig->listener, &rig->ctx, &err);
	*state = rig;
	return rig->server ? 0 : -1;
}

static int teardown(void **state)
{
	struct change_rig *rig = *state;

	api_close(rig->server);
	fake_machine_close(&rig->fake);
	close(rig->listener);
	free(rig);
	return 0;
}

/* The answer; its request asks for the connection to be closed. */
static const char *ask(struct change_rig *rig, const char *request)
{
	const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	static char text[65536];
	size_t len = 0;
	ssize_t n;

	assert_int_equal(connect(fd, (struct sockaddr *)&rig->addr, rig->addr_len), 0);
	assert_int_equal(write(fd, request, strlen(request)), strlen(request));
	do {
		loop_once(&rig->loop);
		n = read(fd, text + len, sizeof(text) - 1 - len);
		len += n > 0 ? n : 0;
	} while (n > 0 || (n < 0 && errno == EAGAIN));
	assert_true(len > 12);
	text[len] = '\0';
	close(fd);
	return text;
}

/* iops=`iops` for disk `id`: the answer's status. */
static int patch(struct change_rig *rig, const char *id, unsigned iops)
{
	char text[512], body[64];

	snprintf(body, sizeof(body), "{\"limits\": {\"iops\": %u}}", iops);
	snprintf(text, sizeof(text),
		 "PATCH /disks/%s HTTP/1.1\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s",
		 id, strlen(body), body);
	return atoi(ask(rig, text) + 9);
}

static uint64_t limit_of(const struct change_rig *rig, unsigned disk)
{
	return rig->fake.m.disk[disk]->blk.group->limits.of[THROTTLE_IOPS].rate;
}

static void a_disk_that_is_going_takes_no_limits(void **state)
{
	struct change_rig *rig = *state;

	assert_int_equal(patch(rig, "second", 7), 204);
	disk_calls_close(&rig->fake.m.disk[1]->calls);
	assert_int_equal(patch(rig, "second", 9), 409);
	assert_int_equal(limit_of(rig, 1), 7);
	/* Nor does its group, through it. */
	disk_calls_close(&rig->fake.m.disk[0]->calls);
	assert_int_equal(patch(rig, "vda", 9), 409);
	assert_int_equal(limit_of(rig, 2), 0);
}

static void who_is_going_does_not_keep_its_group_from_a_change(void **state)
{
	struct change_rig *rig = *state;

	disk_calls_close(&rig->fake.m.disk[0]->calls);
	assert_int_equal(patch(rig, "vdc", 9), 204);
	assert_int_equal(limit_of(rig, 2), 9);
}

/* As after a disk was removed and another one added. */
static void disks_are_listed_by_their_names(void **state)
{
	struct change_rig *rig = *state;
	struct machine *m = &rig->fake.m;
	struct machine_disk *first = m->disk[0];
	const char *list, *a, *b, *c;

	m->disk[0] = m->disk[2];
	m->disk[2] = first;
	list = ask(rig, "GET /disks HTTP/1.1\r\nConnection: close\r\n\r\n");
	a = strstr(list, "\"id\":\"vda\"");
	b = strstr(list, "\"id\":\"vdb\"");
	c = strstr(list, "\"id\":\"vdc\"");
	assert_true(a && b && c);
	assert_true(a < b && b < c);
}

static void the_next_boot_hears_of_a_change(void **state)
{
	struct change_rig *rig = *state;
	struct kept *kept = kept_create(NULL);

	assert_non_null(kept);
	rig->fake.opt.kept = kept;
	assert_int_equal(patch(rig, "second", 9), 204);
	assert_int_equal(kept->changed, 1);
	assert_int_equal(kept->disk[1].limits.of[THROTTLE_IOPS].rate, 9);
	munmap(kept, sizeof(*kept));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_disk_that_is_going_takes_no_limits, setup,
						teardown),
		cmocka_unit_test_setup_teardown(who_is_going_does_not_keep_its_group_from_a_change,
						setup, teardown),
		cmocka_unit_test_setup_teardown(disks_are_listed_by_their_names, setup, teardown),
		cmocka_unit_test_setup_teardown(the_next_boot_hears_of_a_change, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
