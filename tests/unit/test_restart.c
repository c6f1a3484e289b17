/* SPDX-License-Identifier: Apache-2.0 */
/* The parent of --on-reboot restart and its log; the boots are a script. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "vmm/cli/launch.h"
#include "vmm/cli/restart.h"
#include "vmm/cli/result.h"
#include "vmm/log.h"

#define BOOTS 60

int run_once(const struct run_options *opt, unsigned boot, uint64_t limit, struct error *err)
{
	log_warn("notice");
	return boot < BOOTS ? STATUS_RESET : 0;
}

int launch_restrict_parent(const struct run_options *opt, struct error *err)
{
	return 0;
}

static unsigned window(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec / 10;
}

static void supervise(void)
{
	const struct run_options opt = { 0 };
	const pid_t pid = getpid();
	struct error err = { 0 };
	const int status = restart_supervise(&opt, 0, &err);

	if (getpid() != pid)
		_exit(status);
	assert_int_equal(status, 0);
}

/* Each boot would have a line for its reset and one for everything the host lacks. */
static void a_guest_that_resets_at_once_writes_no_lines_for_ever(void **state)
{
	const int saved = dup(STDERR_FILENO), fd = memfd_create("stderr", 0);
	unsigned told = 0, untold = 0, notices = 0, before, n;
	char line[256];
	FILE *in;

	dup2(fd, STDERR_FILENO);
	before = window();
	supervise();
	dup2(saved, STDERR_FILENO);
	close(saved);
	in = fdopen(fd, "r");
	rewind(in);
	while (fgets(line, sizeof(line), in)) {
		told += strstr(line, "starting again") != NULL;
		notices += !strcmp(line, "mvmm: warning: notice\n");
		untold += sscanf(line, "mvmm: %u resets", &n) == 1 ? n : 0;
	}
	fclose(in);
	assert_in_range(told, 1, LOG_GUEST_BURST * (window() - before + 1));
	assert_int_equal(told + untold, BOOTS);
	assert_int_equal(notices, 1 + told);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_guest_that_resets_at_once_writes_no_lines_for_ever),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
