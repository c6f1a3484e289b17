/* SPDX-License-Identifier: Apache-2.0 */
/* The user's terminal, on a pty: raw while it is ours, and as it was before on every end. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <cmocka.h>

#include "vmm/cli/terminal.h"

#define PATIENCE_MS 10000

struct fixture {
	int master, slave;
	struct termios before;
};

static int setup(void **state)
{
	struct fixture *f = malloc(sizeof(*f));

	if (!f)
		return -1;
	*state = f;
	f->master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (f->master < 0 || grantpt(f->master) || unlockpt(f->master))
		return -1;
	f->slave = open(ptsname(f->master), O_RDWR | O_NOCTTY | O_CLOEXEC);
	return f->slave < 0 ? -1 : tcgetattr(f->slave, &f->before);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	close(f->slave);
	close(f->master);
	free(f);
	return 0;
}

static struct termios mode(const struct fixture *f)
{
	struct termios now;

	assert_int_equal(tcgetattr(f->slave, &now), 0);
	return now;
}

static bool is_raw(const struct fixture *f)
{
	const struct termios now = mode(f);

	return !(now.c_lflag & (ICANON | ECHO | ISIG | IEXTEN)) && !(now.c_iflag & (IXON | ICRNL));
}

static void assert_untouched(const struct fixture *f)
{
	const struct termios now = mode(f);

	assert_int_equal(now.c_iflag, f->before.c_iflag);
	assert_int_equal(now.c_oflag, f->before.c_oflag);
	assert_int_equal(now.c_cflag, f->before.c_cflag);
	assert_int_equal(now.c_lflag, f->before.c_lflag);
	assert_memory_equal(now.c_cc, f->before.c_cc, sizeof(now.c_cc));
}

static bool within_patience(bool (*is)(const struct fixture *f), const struct fixture *f)
{
	for (unsigned i = 0; i < PATIENCE_MS; i++) {
		if (is(f))
			return true;
		usleep(1000);
	}
	return false;
}

static void open_makes_raw_close_restores(void **state)
{
	struct fixture *f = *state;
	struct terminal term;

	assert_true(f->before.c_lflag & ECHO);
	assert_int_equal(terminal_open(&term, f->slave), 0);
	assert_true(is_raw(f));
	assert_int_equal(mode(f).c_oflag, f->before.c_oflag); /* our own lines look right */
	assert_true(mode(f).c_oflag & OPOST);
	assert_int_equal(mode(f).c_cc[VMIN], 1);
	assert_int_equal(mode(f).c_cc[VTIME], 0);
	assert_true(terminal_readable(&term));
	terminal_close(&term);
	assert_untouched(f);
}

static void control_c_is_a_byte(void **state)
{
	struct fixture *f = *state;
	struct terminal term;
	char buf[4];

	terminal_open(&term, f->slave);
	assert_int_equal(write(f->master, "\x03\r\x11", 3), 3);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(read(f->slave, buf + i, 1), 1);
	assert_memory_equal(buf, "\x03\r\x11", 3);
	terminal_close(&term);
}

static void closing_twice_is_harmless(void **state)
{
	struct fixture *f = *state;
	struct terminal term;

	terminal_open(&term, f->slave);
	terminal_close(&term);
	terminal_close(&term);
	terminal_resume(&term);
	assert_untouched(f);
}

static void what_is_no_terminal_is_left_alone(void **state)
{
	struct terminal term;
	int fd[2];

	assert_int_equal(pipe(fd), 0);
	assert_int_equal(terminal_open(&term, fd[0]), 0);
	assert_true(terminal_readable(&term));
	terminal_resume(&term);
	terminal_close(&term);
	assert_int_equal(terminal_open(&term, -1), 0);
	terminal_close(&term);
	close(fd[0]);
	close(fd[1]);
}

static void resume_makes_raw_again(void **state)
{
	struct fixture *f = *state;
	struct terminal term;

	terminal_open(&term, f->slave);
	assert_int_equal(tcsetattr(f->slave, TCSANOW, &f->before), 0);
	terminal_resume(&term);
	assert_true(is_raw(f));
	terminal_close(&term);
	assert_untouched(f);
}

/* ---- in a process of its own, with the pty as its controlling terminal ---- */

/* Sanitizers and cmocka take fatal signals: a child starts as mvmm does. */
static void child_begin(const struct fixture *f)
{
	const struct rlimit none = { 0, 0 };

	for (int sig = 1; sig < SIGRTMIN; sig++)
		signal(sig, SIG_DFL);
	setrlimit(RLIMIT_CORE, &none);
	alarm(30);
	if (setsid() < 0 || ioctl(f->slave, TIOCSCTTY, 0))
		_exit(90);
}

/* A process that has the terminal open and waits for its end. */
static pid_t start_holder(const struct fixture *f)
{
	struct terminal term;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid)
		return pid;
	child_begin(f);
	if (terminal_open(&term, f->slave))
		_exit(91);
	for (;;)
		pause();
}

static void killed_by_restores(const struct fixture *f, int sig)
{
	pid_t pid = start_holder(f);
	int status;

	assert_true(within_patience(is_raw, f));
	assert_int_equal(kill(pid, sig), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), sig);
	assert_untouched(f);
}

#define KILLED_BY(sig)                                                                             \
	static void restored_when_killed_by_##sig(void **state)                                    \
	{                                                                                          \
		killed_by_restores(*state, sig);                                                   \
	}
KILLED_BY(SIGTERM)
KILLED_BY(SIGINT)
KILLED_BY(SIGHUP)
KILLED_BY(SIGQUIT)
KILLED_BY(SIGSEGV)
KILLED_BY(SIGBUS)
KILLED_BY(SIGSYS)
KILLED_BY(SIGALRM)

static void fault(void)
{
	volatile char *page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	*page = 1;
}

static void dies_inside_restored(const struct fixture *f, void (*die)(void), int sig)
{
	struct terminal term;
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (!pid) {
		child_begin(f);
		if (terminal_open(&term, f->slave) || !is_raw(f))
			_exit(91);
		die();
		_exit(92);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), sig);
	assert_untouched(f);
}

static void restored_on_abort(void **state)
{
	dies_inside_restored(*state, abort, SIGABRT);
}

static void restored_on_a_fault(void **state)
{
	dies_inside_restored(*state, fault, SIGSEGV);
}

static _Atomic bool taken;

static void *take_it_again_and_again(void *term)
{
	for (;;) {
		terminal_resume(term);
		atomic_store(&taken, true);
	}
	return NULL;
}

static void die_while_it_is_taken(const struct fixture *f)
{
	struct terminal term;
	pthread_t taker;

	child_begin(f);
	if (terminal_open(&term, f->slave) ||
	    pthread_create(&taker, NULL, take_it_again_and_again, &term))
		_exit(91);
	while (!atomic_load(&taken))
		usleep(100);
	fault();
}

/* Main makes it raw now and then, and SIGCONT on any thread: not once it has been given back. */
static void restored_on_a_fault_while_another_thread_takes_it(void **state)
{
	const struct fixture *f = *state;
	int status;

	for (unsigned i = 0; i < 100; i++) {
		pid_t pid = fork();

		assert_true(pid >= 0);
		if (!pid)
			die_while_it_is_taken(f);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));
		assert_untouched(f);
	}
}

/* SIGKILL is the one that cannot be helped; it also shows that the tests above test something. */
static void sigkill_leaves_it_raw(void **state)
{
	struct fixture *f = *state;
	pid_t pid = start_holder(f);
	int status;

	assert_true(within_patience(is_raw, f));
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(is_raw(f));
}

static void continued_after_a_stop_is_raw_again(void **state)
{
	struct fixture *f = *state;
	pid_t pid = start_holder(f);
	int status;

	assert_true(within_patience(is_raw, f));
	kill(pid, SIGSTOP);
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	assert_true(WIFSTOPPED(status));
	tcsetattr(f->slave, TCSANOW, &f->before); /* as the shell does */
	kill(pid, SIGCONT);
	assert_true(within_patience(is_raw, f));
	kill(pid, SIGTERM);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_untouched(f);
}

static void restored_after_close_is_not_touched_again(void **state)
{
	struct fixture *f = *state;
	struct terminal term;
	struct termios other = f->before;
	pid_t pid = fork();
	int status;

	other.c_lflag &= ~ECHO;
	if (!pid) {
		child_begin(f);
		terminal_open(&term, f->slave);
		terminal_close(&term);
		term.fd = f->slave; /* its memory may hold anything by now */
		tcsetattr(f->slave, TCSANOW, &other);
		raise(SIGTERM);
		_exit(92);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(mode(f).c_lflag, other.c_lflag);
}

static volatile sig_atomic_t handled;

static void handler(int sig)
{
	handled = sig;
}

static void handlers_of_others_stay(void **state)
{
	struct fixture *f = *state;
	struct terminal term;
	struct sigaction now;
	pid_t pid = fork();
	int status;

	if (!pid) {
		child_begin(f);
		signal(SIGUSR1, handler);
		signal(SIGINT, SIG_IGN);
		terminal_open(&term, f->slave);
		raise(SIGUSR1);
		sigaction(SIGINT, NULL, &now);
		if (handled != SIGUSR1 || now.sa_handler != SIG_IGN || !is_raw(f))
			_exit(92);
		terminal_close(&term);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_untouched(f);
}

/*
 * A shell: its child goes to a background process group, runs `job`, and must neither be stopped
 * nor fail. Then, with `job_fg`, the job gets the foreground and runs that.
 */
static int shell_status(const struct fixture *f, int (*job)(const struct fixture *, int go),
			bool fg)
{
	int go[2], status = -1;
	pid_t pid;

	child_begin(f);
	signal(SIGTTOU, SIG_IGN); /* a shell gives the terminal away from the background, too */
	if (pipe(go))
		return 93;
	pid = fork();
	if (!pid) {
		signal(SIGTTOU, SIG_DFL);
		setpgid(0, 0);
		_exit(job(f, go[0]));
	}
	setpgid(pid, pid);
	if (fg) {
		usleep(2000);
		tcsetpgrp(f->slave, pid);
	}
	if (write(go[1], "g", 1) != 1 || waitpid(pid, &status, WUNTRACED) != pid)
		return 94;
	if (WIFSTOPPED(status)) {
		kill(pid, SIGKILL);
		return 95;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 96;
}

static int in_a_shell(const struct fixture *f, int (*job)(const struct fixture *, int go), bool fg)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (!pid)
		_exit(shell_status(f, job, fg));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int background_job(const struct fixture *f, int go)
{
	struct terminal term;

	if (terminal_open(&term, f->slave) || is_raw(f) || terminal_readable(&term))
		return 1;
	terminal_resume(&term);
	if (is_raw(f))
		return 2;
	terminal_close(&term);
	return 0;
}

static void background_job_leaves_the_terminal_alone(void **state)
{
	assert_int_equal(in_a_shell(*state, background_job, false), 0);
	assert_untouched(*state);
}

/* The job opens the terminal in the background, then comes to the foreground (fg of a running job:
 * no SIGCONT), where main's timer finds out. */
static int foregrounded_job(const struct fixture *f, int go)
{
	struct terminal term;
	char c;

	if (terminal_open(&term, f->slave) || read(go, &c, 1) != 1)
		return 1;
	terminal_resume(&term);
	if (!is_raw(f) || !terminal_readable(&term))
		return 2;
	terminal_close(&term);
	return is_raw(f) ? 3 : 0;
}

static void job_brought_to_the_foreground_takes_it(void **state)
{
	assert_int_equal(in_a_shell(*state, foregrounded_job, true), 0);
	assert_untouched(*state);
}

static int job_closing_in_background(const struct fixture *f, int go)
{
	struct terminal term;

	terminal_open(&term, f->slave);
	terminal_close(&term);
	return is_raw(f);
}

static void closing_in_the_background_does_not_stop(void **state)
{
	assert_int_equal(in_a_shell(*state, job_closing_in_background, false), 0);
	assert_untouched(*state);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define __SANITIZE_THREAD__ 1
#endif
#endif

/* ThreadSanitizer's runtime does not always survive a signal in a forked child; there is one thread
 * here anyway. */
static bool runtime_takes_fatal_signals(void)
{
#ifdef __SANITIZE_THREAD__
	return false;
#else
	return true;
#endif
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(open_makes_raw_close_restores),
		TEST(control_c_is_a_byte),
		TEST(closing_twice_is_harmless),
		cmocka_unit_test(what_is_no_terminal_is_left_alone),
		TEST(resume_makes_raw_again),
		TEST(restored_when_killed_by_SIGTERM),
		TEST(restored_when_killed_by_SIGINT),
		TEST(restored_when_killed_by_SIGHUP),
		TEST(restored_when_killed_by_SIGQUIT),
		TEST(restored_when_killed_by_SIGSEGV),
		TEST(restored_when_killed_by_SIGBUS),
		TEST(restored_when_killed_by_SIGSYS),
		TEST(restored_when_killed_by_SIGALRM),
		TEST(restored_on_abort),
		TEST(restored_on_a_fault),
		TEST(restored_on_a_fault_while_another_thread_takes_it),
		TEST(sigkill_leaves_it_raw),
		TEST(continued_after_a_stop_is_raw_again),
		TEST(restored_after_close_is_not_touched_again),
		TEST(handlers_of_others_stay),
		TEST(background_job_leaves_the_terminal_alone),
		TEST(job_brought_to_the_foreground_takes_it),
		TEST(closing_in_the_background_does_not_stop),
	};

	if (!runtime_takes_fatal_signals()) {
		puts("1..0 # SKIP ThreadSanitizer and fatal signals in forked children");
		return 77;
	}
	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
