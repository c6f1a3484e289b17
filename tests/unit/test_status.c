/* SPDX-License-Identifier: Apache-2.0 */
/* What Ctrl-A c says of a VM. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>

#include "tests/control/fake_machine.h"
#include "virtio/blk/dataplane.h"
#include "vmm/cli/report.h"

static struct fake_machine fake;
static char line[1024];

static int setup(void **state)
{
	return fake_machine_open(&fake);
}

static int teardown(void **state)
{
	fake_machine_close(&fake);
	return 0;
}

static const char *status(void)
{
	const int stderr_fd = dup(STDERR_FILENO);
	int pair[2];
	ssize_t n;

	assert_int_equal(pipe(pair), 0);
	dup2(pair[1], STDERR_FILENO);
	close(pair[1]);
	report_status(&fake.m);
	dup2(stderr_fd, STDERR_FILENO);
	close(stderr_fd);
	n = read(pair[0], line, sizeof(line) - 1);
	assert_true(n > 0);
	line[n] = '\0';
	close(pair[0]);
	return line;
}

/* As the disk's thread says it. */
static void stop(unsigned disk, int code)
{
	struct blk_stats *stats =
		(struct blk_stats *)blk_dataplane_stats(fake.m.disk[disk]->blk.dataplane);

	atomic_store(&stats->stopped, code);
}

static void a_vm_that_runs_says_so(void **state)
{
	assert_non_null(strstr(status(), "mvmm: running: 2 vCPUs, 3 disks; "));
}

static void a_vm_that_a_disk_has_stopped_says_why(void **state)
{
	char want[512];

	snprintf(want, sizeof(want),
		 "mvmm: paused, disk '%s': No space left on device: 2 vCPUs, 3 disks; ",
		 fake.path[1]);
	fake.m.pausing.state = PAUSING_PAUSED;
	stop(1, ENOSPC);
	assert_non_null(strstr(status(), want));
	stop(1, 0);
	assert_non_null(strstr(status(), "mvmm: paused: 2 vCPUs, 3 disks; "));
	fake.m.pausing.state = PAUSING_RUNS;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_vm_that_runs_says_so, setup, teardown),
		cmocka_unit_test_setup_teardown(a_vm_that_a_disk_has_stopped_says_why, setup,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
