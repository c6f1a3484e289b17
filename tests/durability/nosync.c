/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linked in front of mvmm, makes every sync a lie: what mvmm-nosync is made of, which the power-cut
 * test must catch losing acknowledged writes. The linker prefers these to the libraries'.
 */
#include <errno.h>
#include <libaio.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* Of the kernel's requests for nothing, reading no bytes is the one there is. */
static void forget(struct iocb *iocb)
{
	iocb->aio_rw_flags &= ~RWF_DSYNC;
	if (iocb->aio_lio_opcode != IO_CMD_FDSYNC)
		return;
	iocb->aio_lio_opcode = IO_CMD_PREADV;
	iocb->u.c.buf = NULL;
	iocb->u.c.nbytes = 0;
	iocb->u.c.offset = 0;
}

int io_submit(io_context_t ctx, long n, struct iocb **iocb)
{
	int ret;

	for (long i = 0; i < n; i++)
		forget(iocb[i]);
	ret = syscall(SYS_io_submit, ctx, n, iocb);
	return ret < 0 ? -errno : ret;
}

int fdatasync(int fd)
{
	return 0;
}

ssize_t pwritev2(int fd, const struct iovec *iov, int n, off_t off, int flags)
{
	return syscall(SYS_pwritev2, fd, iov, n, off, 0, flags & ~RWF_DSYNC);
}
