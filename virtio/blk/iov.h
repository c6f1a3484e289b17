/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arithmetic on scatter lists of guest memory. The lists are host copies that were translated and
 * checked; the bytes behind them may change at any moment. Byte positions are 64 bits: a chain may
 * name 128 times 4 GiB.
 */
#ifndef MVMM_BLK_IOV_H
#define MVMM_BLK_IOV_H

#include <stdint.h>
#include <sys/uio.h>

/* Copies up to `len` bytes from position `off` of the list, or to it. Returns the bytes copied. */
uint64_t iov_read(const struct iovec *iov, unsigned n, uint64_t off, void *dst, uint64_t len);
uint64_t iov_write(const struct iovec *iov, unsigned n, uint64_t off, const void *src,
		   uint64_t len);

/* Fills `dst` with the part [off, off + len) of the list, empty pieces left out. `dst` has room for
 * n entries and may be the list itself. Returns how many it took. */
unsigned iov_slice(struct iovec *dst, const struct iovec *iov, unsigned n, uint64_t off,
		   uint64_t len);

/* The list's last byte, or NULL when it has none or it is not RAM (no base). */
uint8_t *iov_last_byte(const struct iovec *iov, unsigned n);

#endif
