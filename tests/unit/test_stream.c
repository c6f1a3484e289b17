/* SPDX-License-Identifier: Apache-2.0 */
/* Standard streams that hold nobody up; see vmm/cli/stream.h and vmm/log.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include "vmm/cli/stream.h"
#include "vmm/log.h"

#define PATIENCE_S 60 /* SIGALRM then: somebody was held up */
#define FILL	   (64 * 1024)

/* A terminal as the guest has it, with nobody reading, behind stderr. */
struct fixture {
	int master, slave;
	int saved;
};

static int setup(void **state)
{
	struct fixture *f = malloc(sizeof(*f));
	struct termios mode;

	if (!f)
		return -1;
	*state = f;
	f->saved = dup(STDERR_FILENO);
	f->master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	if (f->master < 0 || grantpt(f->master) || unlockpt(f->master))
		return -1;
	f->slave = open(ptsname(f->master), O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (f->slave < 0 || tcgetattr(f->slave, &mode))
		return -1;
	cfmakeraw(&mode);
	mode.c_oflag |= OPOST | ONLCR;
	return tcsetattr(f->slave, TCSANOW, &mode);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	alarm(0);
	dup2(f->saved, STDERR_FILENO);
	close(f->saved);
	close(f->slave);
	close(f->master);
	free(f);
	return 0;
}

static void take(const struct fixture *f)
{
	dup2(f->slave, STDERR_FILENO);
	stream_make_own(STDERR_FILENO);
	alarm(PATIENCE_S);
}

static void read_all(const struct fixture *f)
{
	char buf[4096];

	while (read(f->master, buf, sizeof(buf)) > 0)
		;
}

/* F20: there is room, and less than for a line. */
static void a_terminal_whose_reader_has_stopped_holds_nobody_up(void **state)
{
	static const size_t lengths[] = { 2, 97, 1000 };
	struct fixture *f = *state;
	char line[1000], buf[64];

	take(f);
	for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		memset(line, 'x', sizeof(line));
		line[lengths[i] - 1] = '\n';
		for (size_t done = 0; done < FILL; done += lengths[i])
			log_raw(line, lengths[i]);
		read_all(f);
	}
	log_info("heard");
	assert_int_equal(read(f->master, buf, sizeof(buf)), 13);
	assert_memory_equal(buf, "mvmm: heard\r\n", 13);
}

static void *write_much(void *arg)
{
	const struct fixture *f = arg;
	static char text[FILL];

	memset(text, '\n', sizeof(text));
	return (void *)write(f->slave, text, sizeof(text));
}

static void nor_does_somebody_else_who_waits_for_the_terminal(void **state)
{
	struct fixture *f = *state;
	pthread_t thread;
	void *written;
	int there = 0;

	take(f);
	assert_int_equal(pthread_create(&thread, NULL, write_much, f), 0);
	while (there < 2048 && !ioctl(f->master, FIONREAD, &there))
		usleep(1000);
	for (unsigned i = 0; i < 100; i++)
		log_info("lost");
	while (pthread_tryjoin_np(thread, &written)) {
		read_all(f);
		usleep(1000);
	}
	assert_int_equal((ssize_t)written, FILL);
}

/* Its flags may be a shell's. */
static void the_open_file_we_were_given_stays_as_it_is(void **state)
{
	struct fixture *f = *state;
	int fd[2];

	take(f);
	assert_true(fcntl(STDERR_FILENO, F_GETFL) & O_NONBLOCK);
	assert_false(fcntl(f->slave, F_GETFL) & O_NONBLOCK);
	assert_int_equal(pipe(fd), 0);
	dup2(fd[1], STDERR_FILENO);
	stream_make_own(STDERR_FILENO);
	assert_int_equal(fcntl(STDERR_FILENO, F_GETFL) & (O_NONBLOCK | O_ACCMODE),
			 O_NONBLOCK | O_WRONLY);
	assert_false(fcntl(fd[1], F_GETFL) & O_NONBLOCK);
	close(fd[0]);
	close(fd[1]);
}

static void stays(int fd)
{
	assert_true(fd >= 0);
	dup2(fd, STDERR_FILENO);
	stream_make_own(STDERR_FILENO);
	/* That of the same open file follows. */
	assert_int_equal(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) ^ O_APPEND), 0);
	assert_int_equal(fcntl(STDERR_FILENO, F_GETFL), fcntl(fd, F_GETFL));
}

/* A new open file would write at the beginning, or to a new terminal, or not at all. */
static void what_does_not_wait_or_cannot_be_opened_again_stays(void **state)
{
	struct fixture *f = *state;
	const int file = memfd_create("stderr", MFD_CLOEXEC);
	int pair[2];

	stays(file);
	close(file);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	stays(pair[0]);
	close(pair[0]);
	close(pair[1]);
	stays(f->master);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_terminal_whose_reader_has_stopped_holds_nobody_up,
						setup, teardown),
		cmocka_unit_test_setup_teardown(nor_does_somebody_else_who_waits_for_the_terminal,
						setup, teardown),
		cmocka_unit_test_setup_teardown(the_open_file_we_were_given_stays_as_it_is, setup,
						teardown),
		cmocka_unit_test_setup_teardown(what_does_not_wait_or_cannot_be_opened_again_stays,
						setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
