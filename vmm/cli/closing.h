/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Closes an image that is done with: the last close of a block device writes back all that its cache
 * holds, and that of a file on a server asks the server.
 */
#ifndef MVMM_CLI_CLOSING_H
#define MVMM_CLI_CLOSING_H

#include "virtio/blk/backend.h"
#include "vmm/cli/loop.h"

/*
 * Main, which does not wait for it, unless the host has nothing left to have it done with: then, too,
 * `closed` is called once, on main, perhaps before this returns. It may be NULL. The image's lock is
 * gone by then, and not before.
 */
void closing_start(struct loop *loop, const struct block_backend *be, void (*closed)(void *opaque),
		   void *opaque);

#endif
