/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a command in which chosen system calls fail, and tells how it ended.
 *
 *	inject [-l FILE] [-f CALL:N:ERROR] [-t [-q] [-H MS]] [-p FILE] [-w SECONDS]
 *		COMMAND [ARGUMENT ...]
 *
 *	-l FILE			lists the calls, one "NAME" per line, in the order in which they came
 *	-f CALL:N:ERROR		the N-th CALL of the whole process is not done and fails with ERROR, a
 *				name below; or, for =V, returns the value V. N+: so do all after it.
 *				Up to eight times
 *	-t			stdin and stdout are a terminal of the command's own; what it prints
 *				is passed on, and its settings before and after are compared
 *	-q			and nobody reads what is printed there
 *	-H MS			and it hangs up after so long
 *	-p FILE			writes the command's process id
 *	-w SECONDS		kills everything after so long (20)
 *
 * CALL is a name of the table below, an ioctl(2) with its request: ioctl:KVM_CREATE_VM. A call that
 * the C library makes for the loader does not count: counting starts at the first
 * fcntl(0, F_GETFD), by which mvmm looks at its standard streams.
 *
 * The last line on stderr is
 *	inject: status=S ms=M failed=K orphans=O terminal=same|changed|none
 * status is an exit status, 128 + a signal, or "hang".
 *
 * How: a seccomp filter hands the calls over to us (SECCOMP_RET_USER_NOTIF), in all threads and
 * children, by whatever library they were made; KVM_RUN passes unless it is to fail. Filters of the
 * command's own still apply: the strictest answer wins, and "ask" is stricter than "allow".
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define MAX_FAULTS 8
#define GRACE_MS   500 /* for threads and children that outlive the command */

struct name {
	const char *name;
	unsigned long value;
};

/* clang-format off */
#define N(x) { #x, x }
#define CALL(x) { #x, SYS_##x }

static const struct name requests[] = {
	N(KVM_GET_API_VERSION), N(KVM_CHECK_EXTENSION), N(KVM_CREATE_VM),
	N(KVM_GET_VCPU_MMAP_SIZE), N(KVM_GET_SUPPORTED_CPUID), N(KVM_SET_USER_MEMORY_REGION),
	N(KVM_SET_IDENTITY_MAP_ADDR), N(KVM_SET_TSS_ADDR), N(KVM_CREATE_IRQCHIP),
	N(KVM_CREATE_PIT2), N(KVM_CREATE_VCPU), N(KVM_IRQFD), N(KVM_IOEVENTFD),
	N(KVM_SET_GSI_ROUTING), N(KVM_RUN), N(KVM_GET_REGS), N(KVM_SET_REGS), N(KVM_GET_SREGS),
	N(KVM_SET_SREGS), N(KVM_GET_MSRS), N(KVM_SET_MSRS), N(KVM_GET_LAPIC), N(KVM_SET_LAPIC),
	N(KVM_SET_CPUID2), N(KVM_GET_TSC_KHZ), N(KVM_GET_MP_STATE), N(KVM_SET_MP_STATE),
	N(KVM_GET_VCPU_EVENTS), N(KVM_GET_MSR_INDEX_LIST), N(TCGETS), N(TCSETS), N(TIOCGPGRP),
	{ NULL, 0 },
};

static const struct name syscalls[] = {
	CALL(ioctl), CALL(openat), CALL(close), CALL(read), CALL(write), CALL(pread64),
	CALL(pwrite64), CALL(preadv2), CALL(pwritev2), CALL(newfstatat), CALL(fstat), CALL(statx),
	CALL(lseek), CALL(access), CALL(faccessat), CALL(faccessat2), CALL(unlink), CALL(rename),
	CALL(fcntl), CALL(fdatasync), CALL(fallocate), CALL(mmap), CALL(munmap), CALL(mprotect),
	CALL(madvise), CALL(brk), CALL(eventfd2), CALL(signalfd4), CALL(epoll_create1),
	CALL(epoll_ctl), CALL(epoll_wait), CALL(poll), CALL(io_setup), CALL(io_submit),
	CALL(io_getevents), CALL(io_destroy), CALL(clone3), CALL(clone), CALL(prctl),
	CALL(prlimit64), CALL(rt_sigaction), CALL(rt_sigprocmask), CALL(seccomp), CALL(dup2),
	CALL(getrandom), CALL(memfd_create), CALL(socketpair), CALL(landlock_create_ruleset),
	CALL(landlock_restrict_self), CALL(socket), CALL(bind), CALL(listen), CALL(flock),
	CALL(fstatfs), CALL(ftruncate), CALL(timerfd_create), CALL(close_range), { NULL, 0 },
};

static const struct name errors[] = {
	N(EAGAIN), N(ENOMEM), N(EMFILE), N(ENFILE), N(EACCES), N(EPERM), N(EINTR), N(EIO),
	N(ENOSPC), N(EINVAL), N(ENOSYS), N(ENOTTY), N(EBUSY), N(ENODEV), N(ENOENT), N(ENOLCK),
	N(EFAULT), N(EOPNOTSUPP), N(EEXIST), N(EFBIG), N(EPIPE), N(EROFS), N(EADDRINUSE),
	{ NULL, 0 },
};
/* clang-format on */

struct fault {
	char call[48];
	unsigned n;
	bool on;   /* and all that follow */
	int error; /* 0: returns `value` instead */
	int value;
	unsigned seen;
};

struct inject {
	struct fault fault[MAX_FAULTS];
	unsigned nfaults;
	FILE *list;
	const char *pid_file;
	int limit_ms;
	int hangup_ms; /* 0: never */
	bool quiet;
	int listener;
	int master, slave; /* -1: no terminal */
	struct termios before;
	pid_t child;
	bool counting;
	unsigned failed;
};

static void __attribute__((noreturn)) die(const char *what)
{
	fprintf(stderr, "inject: %s: %s\n", what, strerror(errno));
	exit(125);
}

static const struct name *by_name(const struct name *table, const char *name)
{
	for (; table->name; table++)
		if (!strcmp(table->name, name))
			return table;
	return NULL;
}

static const char *name_of(const struct name *table, unsigned long value)
{
	for (; table->name; table++)
		if (table->value == value)
			return table->name;
	return "?";
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* ---- the filter ------------------------------------------------------------------------------ */

struct program {
	struct sock_filter insn[512];
	unsigned short n;
};

static void emit(struct program *p, struct sock_filter insn)
{
	p->insn[p->n++] = insn;
}

static void load(struct program *p, size_t off)
{
	emit(p, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, off));
}

/* Goes on behind the next `skip` instructions unless the value loaded is `value`. */
static void unless_skip(struct program *p, uint32_t value, uint8_t skip)
{
	emit(p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, skip));
}

static void answer(struct program *p, uint32_t action)
{
	emit(p, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action));
}

static bool is_wanted(const struct inject *in, const char *call)
{
	const size_t len = strlen(call);

	if (in->list || !strcmp(call, "fcntl"))
		return true;
	for (unsigned i = 0; i < in->nfaults; i++)
		if (!strncmp(in->fault[i].call, call, len) && strchr(":", in->fault[i].call[len]))
			return true;
	return false;
}

static bool fails_run(const struct inject *in)
{
	for (unsigned i = 0; i < in->nfaults; i++)
		if (!strcmp(in->fault[i].call, "ioctl:KVM_RUN"))
			return true;
	return false;
}

static void make_filter(const struct inject *in, struct program *p)
{
	load(p, offsetof(struct seccomp_data, nr));
	if (!fails_run(in)) {
		unless_skip(p, SYS_ioctl, 4);
		load(p, offsetof(struct seccomp_data, args[1]));
		unless_skip(p, (uint32_t)KVM_RUN, 1);
		answer(p, SECCOMP_RET_ALLOW);
		load(p, offsetof(struct seccomp_data, nr));
	}
	for (const struct name *s = syscalls; s->name; s++) {
		if (!is_wanted(in, s->name))
			continue;
		unless_skip(p, s->value, 1);
		answer(p, SECCOMP_RET_USER_NOTIF);
	}
	answer(p, SECCOMP_RET_ALLOW);
}

/* Signals that come while we think must not end the call: it is as if it had never been asked. */
static int install(const struct inject *in)
{
	unsigned flags = SECCOMP_FILTER_FLAG_NEW_LISTENER;
	struct program p = { .n = 0 };
	struct sock_fprog prog;
	int fd;

	make_filter(in, &p);
	prog = (struct sock_fprog){ .len = p.n, .filter = p.insn };
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		die("no_new_privs");
#ifdef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
	flags |= SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
#endif
	fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog);
	if (fd < 0)
		die("seccomp");
	return fd;
}

static void send_fd(int socket, int fd)
{
	char byte = 0, control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control,
			      .msg_controllen = sizeof(control) };
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
	if (sendmsg(socket, &msg, 0) != 1)
		_exit(125);
}

static int receive_fd(int socket)
{
	char byte, control[CMSG_SPACE(sizeof(int))];
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control,
			      .msg_controllen = sizeof(control) };
	struct cmsghdr *cmsg;
	int fd;

	if (recvmsg(socket, &msg, MSG_CMSG_CLOEXEC) != 1 || !(cmsg = CMSG_FIRSTHDR(&msg)))
		die("no listener");
	memcpy(&fd, CMSG_DATA(cmsg), sizeof(fd));
	return fd;
}

/* ---- the command ----------------------------------------------------------------------------- */

static void open_terminal(struct inject *in)
{
	in->master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (in->master < 0 || grantpt(in->master) || unlockpt(in->master))
		die("pty");
	in->slave = open(ptsname(in->master), O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (in->slave < 0 || tcgetattr(in->slave, &in->before))
		die("pty");
	fcntl(in->master, F_SETFL, O_NONBLOCK);
}

static void take_terminal(const struct inject *in)
{
	setsid();
	if (in->slave < 0)
		return;
	if (ioctl(in->slave, TIOCSCTTY, 0))
		die("controlling terminal");
	dup2(in->slave, STDIN_FILENO);
	dup2(in->slave, STDOUT_FILENO);
}

static void start(struct inject *in, char **argv)
{
	int socket[2], fd;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, socket))
		die("socketpair");
	in->child = fork();
	if (in->child < 0)
		die("fork");
	if (!in->child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		signal(SIGINT, SIG_DFL); /* a shell's background jobs ignore them */
		signal(SIGQUIT, SIG_DFL);
		take_terminal(in);
		fd = install(in);
		send_fd(socket[1], fd);
		close(fd);
		execvp(argv[0], argv);
		die(argv[0]);
	}
	close(socket[1]);
	in->listener = receive_fd(socket[0]);
	close(socket[0]);
}

static void write_pid(const struct inject *in)
{
	FILE *f = fopen(in->pid_file, "w");

	if (!f || fprintf(f, "%d\n", (int)in->child) < 0 || fclose(f))
		die(in->pid_file);
}

/* ---- one call -------------------------------------------------------------------------------- */

static void name_call(const struct seccomp_data *data, char *name, size_t size)
{
	const char *call = name_of(syscalls, data->nr);

	if (data->nr == SYS_ioctl)
		snprintf(name, size, "ioctl:%s", name_of(requests, (uint32_t)data->args[1]));
	else
		snprintf(name, size, "%s", call);
}

/* The fault that is due for this call, if any. */
static const struct fault *judge(struct inject *in, const struct seccomp_data *data)
{
	const struct fault *due = NULL;
	char name[48];

	if (data->nr == SYS_fcntl && data->args[0] == 0 && data->args[1] == F_GETFD)
		in->counting = true;
	if (!in->counting)
		return NULL;
	name_call(data, name, sizeof(name));
	if (in->list)
		fprintf(in->list, "%s\n", name);
	for (unsigned i = 0; i < in->nfaults; i++) {
		struct fault *f = &in->fault[i];

		if (strcmp(f->call, name))
			continue;
		f->seen++;
		if (f->seen == f->n || (f->on && f->seen > f->n))
			due = f;
	}
	in->failed += due != NULL;
	return due;
}

/* False: nobody is left who could ask. */
static bool serve(struct inject *in)
{
	struct seccomp_notif ask = { 0 };
	struct seccomp_notif_resp reply = { 0 };
	const struct fault *due;

	if (ioctl(in->listener, SECCOMP_IOCTL_NOTIF_RECV, &ask))
		return errno != ENOENT || kill(in->child, 0) == 0;
	reply.id = ask.id;
	due = judge(in, &ask.data);
	if (due) {
		reply.error = -due->error;
		reply.val = due->value;
	} else {
		reply.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
	}
	/* ENOENT: whoever asked has been killed meanwhile. */
	if (ioctl(in->listener, SECCOMP_IOCTL_NOTIF_SEND, &reply) && errno != ENOENT)
		die("answer");
	return true;
}

/* ---- until the end --------------------------------------------------------------------------- */

static void pass_on(const struct inject *in)
{
	char buf[4096];
	ssize_t n;

	while (in->master >= 0 && !in->quiet && (n = read(in->master, buf, sizeof(buf))) > 0)
		if (write(STDOUT_FILENO, buf, n) != n)
			return;
}

/* The rest is the filter's last users: POLLHUP when none is left. */
static bool others_end(struct inject *in, uint64_t until)
{
	struct pollfd pfd = { .fd = in->listener, .events = POLLIN };

	while (now_ms() < until) {
		if (poll(&pfd, 1, 10) <= 0)
			continue;
		if (pfd.revents & POLLHUP)
			return true;
		serve(in);
	}
	return false;
}

static void hang_up(struct inject *in)
{
	close(in->slave);
	close(in->master);
	in->master = in->slave = -1;
}

/* The command's wait status, or -1 when its time is over. */
static int watch(struct inject *in)
{
	const uint64_t begin = now_ms();
	struct pollfd pfd[2] = { { .fd = in->listener, .events = POLLIN }, { .events = POLLIN } };
	int status;

	while (waitpid(in->child, &status, WNOHANG) != in->child) {
		const uint64_t ms = now_ms() - begin;

		if (ms > (uint64_t)in->limit_ms)
			return -1;
		if (in->hangup_ms && ms > (uint64_t)in->hangup_ms && in->master >= 0)
			hang_up(in);
		pfd[1].fd = in->quiet ? -1 : in->master;
		if (poll(pfd, 2, 5) <= 0)
			continue;
		if (pfd[0].revents & POLLIN)
			serve(in);
		else if (pfd[0].revents & POLLHUP)
			usleep(500); /* about to be waited for */
		pass_on(in);
	}
	return status;
}

static const char *compare_terminal(const struct inject *in)
{
	struct termios now;

	if (in->slave < 0)
		return "none";
	if (tcgetattr(in->slave, &now) || now.c_iflag != in->before.c_iflag ||
	    now.c_oflag != in->before.c_oflag || now.c_lflag != in->before.c_lflag ||
	    now.c_cflag != in->before.c_cflag)
		return "changed";
	return memcmp(now.c_cc, in->before.c_cc, sizeof(now.c_cc)) ? "changed" : "same";
}

static void report(struct inject *in, int status, uint64_t ms)
{
	const char *terminal;
	bool alone;
	char text[16] = "hang";

	if (status < 0)
		kill(-in->child, SIGKILL);
	alone = others_end(in, now_ms() + GRACE_MS);
	pass_on(in);
	terminal = compare_terminal(in);
	if (status >= 0)
		snprintf(text, sizeof(text), "%d",
			 WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
	fprintf(stderr, "inject: status=%s ms=%llu failed=%u orphans=%s terminal=%s\n", text,
		(unsigned long long)ms, in->failed, alone ? "no" : "yes", terminal);
	if (!alone)
		kill(-in->child, SIGKILL);
}

static void usage(void)
{
	fprintf(stderr, "usage: inject [-l FILE] [-f CALL:N[+]:ERROR] [-t [-q] [-H MS]] [-p FILE] "
			"[-w SECONDS] COMMAND [ARGUMENT ...]\n");
	exit(125);
}

static void parse_error(struct fault *f, const char *text)
{
	const struct name *known = by_name(errors, text);

	if (*text == '=')
		f->value = atoi(text + 1);
	else if (known)
		f->error = (int)known->value;
	else
		usage();
}

static void parse_fault(struct inject *in, char *text)
{
	struct fault *f = &in->fault[in->nfaults];
	char *error = strrchr(text, ':'), *n;

	if (in->nfaults++ == MAX_FAULTS || !error)
		usage();
	*error++ = '\0';
	n = strrchr(text, ':');
	if (!n)
		usage();
	*n++ = '\0';
	snprintf(f->call, sizeof(f->call), "%s", text);
	f->n = strtoul(n, &n, 10);
	f->on = *n == '+';
	parse_error(f, error);
}

int main(int argc, char **argv)
{
	struct inject in = { .master = -1, .slave = -1, .limit_ms = 20000 };
	uint64_t begin;
	int opt, status;

	while ((opt = getopt(argc, argv, "+l:f:tqH:p:w:")) != -1) {
		if (opt == 'l' && !(in.list = fopen(optarg, "we")))
			die(optarg);
		else if (opt == 'f')
			parse_fault(&in, optarg);
		else if (opt == 't')
			open_terminal(&in);
		else if (opt == 'q')
			in.quiet = true;
		else if (opt == 'H')
			in.hangup_ms = atoi(optarg);
		else if (opt == 'p')
			in.pid_file = optarg;
		else if (opt == 'w')
			in.limit_ms = atoi(optarg) * 1000;
		else if (opt == '?')
			usage();
	}
	if (optind == argc)
		usage();
	begin = now_ms();
	start(&in, argv + optind);
	if (in.pid_file)
		write_pid(&in);
	status = watch(&in);
	report(&in, status, now_ms() - begin);
	return 0;
}
