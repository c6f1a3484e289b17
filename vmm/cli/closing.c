/* SPDX-License-Identifier: Apache-2.0 */
/* Closes images beside main; see closing.h. Must not know whose they were. */
#include "vmm/cli/closing.h"

#include <stdlib.h>

#include "vmm/cli/errand.h"

struct closing {
	struct errand errand;
	struct block_backend be;
	void (*closed)(void *opaque);
	void *opaque;
};

static void run(void *opaque)
{
	const struct closing *c = opaque;

	block_backend_close(&c->be);
}

static void done(void *opaque)
{
	const struct closing c = *(struct closing *)opaque;

	free(opaque);
	if (c.closed)
		c.closed(c.opaque);
}

void closing_start(struct loop *loop, const struct block_backend *be, void (*closed)(void *opaque),
		   void *opaque)
{
	struct closing *c = calloc(1, sizeof(*c));
	struct error err;

	if (c) {
		*c = (struct closing){ .be = *be, .closed = closed, .opaque = opaque };
		c->errand = (struct errand){ .run = run, .done = done, .opaque = c };
		if (!errand_start(&c->errand, loop, &err))
			return;
	}
	block_backend_close(be);
	free(c);
	if (closed)
		closed(opaque);
}
