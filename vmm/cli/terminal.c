/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Takes the user's terminal and gives it back.
 *
 * Main opens, resumes and closes; the signal handlers run on whatever thread the kernel picks and
 * call nothing but async-signal-safe functions (POSIX.1-2017, 2.4.3: tcgetattr, tcsetattr,
 * tcgetpgrp, getpgrp, pthread_sigmask, clock_gettime and raise are; sched_yield is a bare
 * system call). Must not know guests or keys.
 *
 * Job control decides who may set a terminal: from the background, tcsetattr() would stop the
 * process with SIGTTOU, and whatever it set would be a surprise to the shell. So it is left alone
 * there, by everybody here. Nothing waits for output to drain (TCSADRAIN): a user who stopped it
 * with Ctrl-S must be able to end mvmm.
 */
#include "vmm/cli/terminal.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <unistd.h>

#include "vmm/cli/clock.h"

#define PATIENCE_MS 200

/*
 * The one thing a signal handler can find by itself: whose terminal to restore. NULL while none is
 * open. File-scope because sigaction(2) has no argument for it.
 */
static struct terminal *_Atomic active;

static const int fatal_signals[] = {
	SIGHUP,	   SIGINT,  SIGQUIT,   SIGILL,	SIGTRAP, SIGABRT, SIGBUS,
	SIGFPE,	   SIGUSR1, SIGSEGV,   SIGUSR2, SIGALRM, SIGTERM, SIGXCPU,
	SIGVTALRM, SIGPROF, SIGSTKFLT, SIGPOLL, SIGPWR,	 SIGSYS,
};

/* A terminal that is not our controlling one (ENOTTY) has no job control for us. */
static bool in_foreground(int fd)
{
	const pid_t pgrp = tcgetpgrp(fd);

	return pgrp < 0 || pgrp == getpgrp();
}

/* SIGTTOU blocked: the foreground may change hands between the question and the call. */
static int set_mode(int fd, const struct termios *mode)
{
	sigset_t ttou, old;
	int ret;

	sigemptyset(&ttou);
	sigaddset(&ttou, SIGTTOU);
	pthread_sigmask(SIG_BLOCK, &ttou, &old);
	ret = tcsetattr(fd, TCSANOW, mode) ? -errno : 0;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return ret;
}

/* OPOST stays: lines of our own go to the same screen. */
static struct termios raw_mode(const struct termios *saved)
{
	struct termios raw = *saved;

	raw.c_iflag &= ~(BRKINT | ICRNL | IGNCR | INLCR | INPCK | ISTRIP | IXON);
	raw.c_lflag &= ~(ECHO | ECHONL | ICANON | IEXTEN | ISIG);
	raw.c_cc[VMIN] = 1;
	raw.c_cc[VTIME] = 0;
	return raw;
}

/* What the user had is looked up when we first get the foreground: before that it may be what the
 * shell's line editor uses. */
static int take(struct terminal *term)
{
	if (!in_foreground(term->fd))
		return 0;
	if (!atomic_load(&term->held)) {
		if (tcgetattr(term->fd, &term->saved))
			return -errno;
		term->raw = raw_mode(&term->saved);
		atomic_store(&term->held, true);
	}
	return set_mode(term->fd, &term->raw);
}

/*
 * Who takes the terminal says so and then looks whether it has been given back; who gives it back says
 * so and then looks for those who take it. In the one order of these four (seq_cst) one of the two is
 * seen, so nothing is set after what restores it.
 */
static int make_raw(struct terminal *term)
{
	int ret = 0;

	atomic_fetch_add(&term->taking, 1);
	if (!atomic_load(&term->given))
		ret = take(term);
	atomic_fetch_sub(&term->taking, 1);
	return ret;
}

/* It may be the thread that takes it which a signal has sent here: nobody waits for it for ever. */
static void give_back(struct terminal *term)
{
	const uint64_t until = clock_ms() + PATIENCE_MS;

	atomic_store(&term->given, true);
	while (atomic_load(&term->taking) && clock_ms() < until)
		sched_yield();
	if (atomic_load(&term->held) && in_foreground(term->fd))
		set_mode(term->fd, &term->saved);
}

void terminal_give_back(void)
{
	struct terminal *term = atomic_load(&active);

	if (term)
		give_back(term);
}

/* SA_RESETHAND and SA_NODEFER: raise() takes the default action, core dump and wait status
 * included. */
static void on_fatal(int sig)
{
	terminal_give_back();
	raise(sig);
}

static void on_continue(int sig)
{
	struct terminal *term = atomic_load(&active);
	const int saved_errno = errno;

	if (term)
		make_raw(term);
	errno = saved_errno;
}

/* Signals somebody else handles or ignores are theirs. */
static void handle_default(int sig, void (*handler)(int), int flags)
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = flags };
	struct sigaction old;

	if (sigaction(sig, NULL, &old) || (old.sa_flags & SA_SIGINFO) || old.sa_handler != SIG_DFL)
		return;
	sigemptyset(&action.sa_mask);
	sigaction(sig, &action, NULL);
}

static void install_handlers(void)
{
	const size_t n = sizeof(fatal_signals) / sizeof(fatal_signals[0]);

	for (size_t i = 0; i < n; i++)
		handle_default(fatal_signals[i], on_fatal, SA_RESETHAND | SA_NODEFER);
	handle_default(SIGCONT, on_continue, SA_RESTART);
}

int terminal_open(struct terminal *term, int fd)
{
	int ret;

	term->fd = -1;
	atomic_init(&term->held, false);
	atomic_init(&term->given, false);
	atomic_init(&term->taking, 0);
	if (!isatty(fd))
		return 0;
	term->fd = fd;
	atomic_store(&active, term);
	install_handlers();
	ret = make_raw(term);
	if (ret)
		terminal_close(term);
	return ret;
}

void terminal_close(struct terminal *term)
{
	if (term->fd < 0)
		return;
	give_back(term);
	atomic_store(&active, NULL);
	term->fd = -1;
}

void terminal_resume(struct terminal *term)
{
	if (term->fd >= 0)
		make_raw(term);
}

bool terminal_readable(const struct terminal *term)
{
	return term->fd < 0 || in_foreground(term->fd);
}
