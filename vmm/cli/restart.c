/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parent of --on-reboot restart: forks one child per boot, passes signals on, and starts the
 * next one when a child ends with the status of a guest reset. The machine is never initialised
 * twice in one process, so nothing can be left over from the boot before.
 *
 * The parent has one thread and opens nothing. Its sandbox is that of `parent_forbidden` (roles.h),
 * because children begin with what it has.
 */
#include "vmm/cli/restart.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vmm/cli/clock.h"
#include "vmm/cli/launch.h"
#include "vmm/cli/result.h"
#include "vmm/cli/signals.h"
#include "vmm/log.h"

struct supervisor {
	sigset_t watched;
	sigset_t before;
	pid_t child;
	int signal; /* the first one that asked for the end; 0: none */
	struct log_limit limit;
	bool quiet;	 /* the next boot is */
	unsigned untold; /* resets */
};

/* A child must not outlive its parent: nobody would know of it. */
static int boot_child(const struct run_options *opt, unsigned boot, uint64_t limit,
		      const sigset_t *mask, pid_t parent, struct error *err)
{
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		_exit(STATUS_ERROR);
	sigprocmask(SIG_SETMASK, mask, NULL);
	return run_once(opt, boot, limit, err);
}

/*
 * A Ctrl-C of the terminal (SI_KERNEL) has reached the child, too, which is in the same process
 * group; sent twice it would mean "at once".
 */
static void pass_on(struct supervisor *s, const siginfo_t *info)
{
	s->signal = info->si_signo;
	if (info->si_code != SI_KERNEL)
		kill(s->child, info->si_signo);
}

/* Waits for the child's end; its status as waitpid(2) has it. */
static int wait_for_child(struct supervisor *s)
{
	siginfo_t info;
	int status;

	while (waitpid(s->child, &status, WNOHANG) == 0) {
		if (sigwaitinfo(&s->watched, &info) < 0 || info.si_signo == SIGCHLD)
			continue;
		pass_on(s, &info);
	}
	return status;
}

/* A guest may reset as often as it likes, and each boot would have its say. */
static void tell_reset(struct supervisor *s, const char *name)
{
	const unsigned left = log_limit_now(&s->limit);

	s->quiet = !left;
	if (left)
		log_info("%s%sguest asked for a reset: starting again%s", name ? name : "",
			 name ? ": " : "",
			 left > 1 ? "" : " (more of these are held back for a while)");
	if (left && s->untold)
		log_info("%u resets before this one were not told of", s->untold);
	s->untold = left ? 0 : s->untold + 1;
}

static void tell_untold(const struct supervisor *s)
{
	if (s->untold)
		log_info("%u resets were not told of", s->untold);
}

/*
 * Closing line and result for a last child that has left none: a signal killed it, or met it before
 * it took signals, or came between two boots.
 */
static int end_by_signal(const struct run_options *opt, int sig)
{
	const struct result res = { .end = VM_END_SIGNAL, .value = sig, .name = opt->name };
	struct error err;
	char line[256];

	result_line(&res, line, sizeof(line));
	log_info("%s", line);
	/* A child that was killed right after its result has left one. */
	if (opt->result_fd >= 0 && lseek(opt->result_fd, 0, SEEK_CUR) <= 0 &&
	    result_write(&res, opt->result_fd, &err))
		log_error("%s", err.text);
	return result_status(&res);
}

/* A signal that came while there was no child to pass it to. */
static void take_pending(struct supervisor *s)
{
	const struct timespec now = { 0 };
	siginfo_t info;
	int sig;

	while ((sig = sigtimedwait(&s->watched, &info, &now)) > 0)
		if (sig != SIGCHLD)
			s->signal = sig;
}

static bool is_reset(const struct supervisor *s, int status)
{
	return WIFEXITED(status) && WEXITSTATUS(status) == STATUS_RESET && !s->signal;
}

static int last_status(const struct run_options *opt, const struct supervisor *s, int status)
{
	if (WIFSIGNALED(status))
		return end_by_signal(opt, WTERMSIG(status));
	return WEXITSTATUS(status) == STATUS_RESET ? end_by_signal(opt, s->signal)
						   : WEXITSTATUS(status);
}

static void watch_signals(struct supervisor *s)
{
	signal(SIGCHLD, SIG_DFL); /* ignored, children would end without a status */
	signals_that_end(&s->watched);
	sigaddset(&s->watched, SIGCHLD);
	sigprocmask(SIG_BLOCK, &s->watched, &s->before);
}

int restart_supervise(const struct run_options *opt, uint64_t limit, struct error *err)
{
	struct supervisor s = { 0 };
	const pid_t parent = getpid();
	int status;

	if (launch_restrict_parent(opt, err))
		return STATUS_ERROR;
	watch_signals(&s);
	for (unsigned boot = 0;; boot++) {
		s.child = fork();
		if (s.child < 0) {
			error_set(err, errno, "--on-reboot 'restart': fork");
			return STATUS_ERROR;
		}
		if (!s.child && s.quiet)
			log_hold_back();
		if (!s.child)
			return boot_child(opt, boot, limit, &s.before, parent, err);
		status = wait_for_child(&s);
		take_pending(&s);
		if (!is_reset(&s, status)) {
			tell_untold(&s);
			return last_status(opt, &s, status);
		}
		tell_reset(&s, opt->name);
	}
}
