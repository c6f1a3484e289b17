/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Storage that answers when a test wants: shows an image as a file of FUSE, and keeps the reads and
 * writes of it back between two signals.
 *
 *	slowdisk IMAGE FILE HELD
 *
 * FILE exists and is mounted over; HELD gets the number of requests kept back, as text. SIGUSR1:
 * keep back what comes from now on. SIGUSR2: answer all of it, the last one first, and go on. When
 * this process ends, what it kept back fails. Speaks the kernel's protocol itself, because this is
 * about requests that really are in flight there: a library's servers let 12 of them be.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define MAX_HELD   256
#define MAX_DATA   (1u << 20)
#define MAX_BUFFER (MAX_DATA + 4096) /* and the headers of a request */

struct message {
	struct fuse_in_header header;
	uint8_t body[MAX_BUFFER];
};

struct slowdisk {
	int image, fuse, held_file;
	bool hold;
	unsigned n;
	struct message *held[MAX_HELD];
};

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void answer(struct slowdisk *s, uint64_t unique, int error, const void *data, size_t len)
{
	struct fuse_out_header out = { sizeof(out) + len, error, unique };
	const struct iovec iov[] = { { &out, sizeof(out) }, { (void *)data, len } };

	/* ENOENT: whoever asked has been interrupted. */
	if (writev(s->fuse, iov, 2) < 0 && errno != ENOENT)
		die("slowdisk: write");
}

static void say_held(const struct slowdisk *s)
{
	char text[16];
	const int len = snprintf(text, sizeof(text), "%-8u\n", s->n);

	if (pwrite(s->held_file, text, len, 0) < 0)
		die("slowdisk: count");
}

static void attributes(struct slowdisk *s, struct fuse_attr *attr)
{
	struct stat st;

	fstat(s->image, &st);
	*attr = (struct fuse_attr){
		.ino = FUSE_ROOT_ID,
		.size = st.st_size,
		.blocks = st.st_blocks,
		.mode = S_IFREG | 0600,
		.nlink = 1,
		.blksize = 4096,
	};
}

static void do_init(struct slowdisk *s, const struct message *m)
{
	const struct fuse_init_in *in = (const void *)m->body;
	const struct fuse_init_out out = {
		.major = FUSE_KERNEL_VERSION,
		.minor = FUSE_KERNEL_MINOR_VERSION,
		.flags = in->flags & (FUSE_ASYNC_READ | FUSE_ASYNC_DIO | FUSE_BIG_WRITES |
				      FUSE_PARALLEL_DIROPS | FUSE_MAX_PAGES),
		.max_background = MAX_HELD,
		.congestion_threshold = MAX_HELD,
		.max_write = MAX_DATA,
		.max_pages = MAX_DATA / 4096,
		.time_gran = 1,
	};

	answer(s, m->header.unique, 0, &out, sizeof(out));
}

static void do_read(struct slowdisk *s, const struct message *m)
{
	static uint8_t data[MAX_DATA];
	const struct fuse_read_in *in = (const void *)m->body;
	ssize_t n = pread(s->image, data, in->size < MAX_DATA ? in->size : MAX_DATA, in->offset);

	answer(s, m->header.unique, n < 0 ? -errno : 0, data, n < 0 ? 0 : n);
}

static void do_write(struct slowdisk *s, const struct message *m)
{
	const struct fuse_write_in *in = (const void *)m->body;
	const ssize_t n = pwrite(s->image, m->body + sizeof(*in), in->size, in->offset);
	const struct fuse_write_out out = { .size = n };

	answer(s, m->header.unique, n < 0 ? -errno : 0, &out, n < 0 ? 0 : sizeof(out));
}

static void do_fallocate(struct slowdisk *s, const struct message *m)
{
	const struct fuse_fallocate_in *in = (const void *)m->body;
	const int ret = fallocate(s->image, in->mode, in->offset, in->length);

	answer(s, m->header.unique, ret ? -errno : 0, NULL, 0);
}

static void transfer(struct slowdisk *s, const struct message *m)
{
	if (m->header.opcode == FUSE_READ)
		do_read(s, m);
	else
		do_write(s, m);
}

static void keep_back(struct slowdisk *s, const struct message *m)
{
	struct message *copy = malloc(m->header.len);

	if (!copy || s->n == MAX_HELD)
		die("slowdisk: too many requests");
	memcpy(copy, m, m->header.len);
	s->held[s->n++] = copy;
	say_held(s);
}

static void release(struct slowdisk *s)
{
	s->hold = false;
	while (s->n) {
		transfer(s, s->held[--s->n]);
		free(s->held[s->n]);
	}
	say_held(s);
}

static void handle(struct slowdisk *s, const struct message *m)
{
	const struct fuse_open_out open = { .fh = 1 };
	struct fuse_attr_out attr = { .attr_valid = 1 };

	switch (m->header.opcode) {
	case FUSE_INIT:
		do_init(s, m);
		break;
	case FUSE_READ:
	case FUSE_WRITE:
		if (s->hold)
			keep_back(s, m);
		else
			transfer(s, m);
		break;
	case FUSE_GETATTR:
	case FUSE_SETATTR:
		attributes(s, &attr.attr);
		answer(s, m->header.unique, 0, &attr, sizeof(attr));
		break;
	case FUSE_OPEN:
		answer(s, m->header.unique, 0, &open, sizeof(open));
		break;
	case FUSE_FSYNC:
		answer(s, m->header.unique, fdatasync(s->image) ? -errno : 0, NULL, 0);
		break;
	case FUSE_FALLOCATE:
		do_fallocate(s, m);
		break;
	case FUSE_FLUSH:
	case FUSE_RELEASE:
		answer(s, m->header.unique, 0, NULL, 0);
		break;
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
		break; /* no answer is expected */
	default:
		answer(s, m->header.unique, -ENOSYS, NULL, 0);
	}
}

/* Over a file, which then is the root of the file system. */
static void mount_over(struct slowdisk *s, const char *file)
{
	char options[128];

	s->fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (s->fuse < 0)
		die("/dev/fuse");
	snprintf(options, sizeof(options), "fd=%d,rootmode=100600,user_id=0,group_id=0,allow_other",
		 s->fuse);
	if (mount("slowdisk", file, "fuse.slowdisk", MS_NOSUID | MS_NODEV, options))
		die("slowdisk: mount");
}

static void take_signal(struct slowdisk *s, int fd)
{
	struct signalfd_siginfo info;

	if (read(fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGUSR1)
		s->hold = true;
	else
		release(s);
}

/* False: unmounted. */
static bool take_request(struct slowdisk *s, struct message *m)
{
	if (read(s->fuse, m, sizeof(*m)) < 0)
		return errno == EINTR || errno == EAGAIN || errno == ENOENT;
	handle(s, m);
	return true;
}

int main(int argc, char **argv)
{
	static struct message message;
	struct slowdisk s = { 0 };
	struct pollfd pfd[2];
	sigset_t signals;

	if (argc != 4)
		return 2;
	s.image = open(argv[1], O_RDWR | O_CLOEXEC);
	s.held_file = open(argv[3], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (s.image < 0 || s.held_file < 0)
		die(argv[1]);
	sigemptyset(&signals);
	sigaddset(&signals, SIGUSR1);
	sigaddset(&signals, SIGUSR2);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	mount_over(&s, argv[2]);
	say_held(&s);
	pfd[0] = (struct pollfd){ .fd = signalfd(-1, &signals, SFD_CLOEXEC), .events = POLLIN };
	pfd[1] = (struct pollfd){ .fd = s.fuse, .events = POLLIN };
	for (;;) {
		if (poll(pfd, 2, -1) < 0)
			die("slowdisk: poll");
		if (pfd[0].revents)
			take_signal(&s, pfd[0].fd);
		if (pfd[1].revents && !take_request(&s, &message))
			return 0;
	}
}
