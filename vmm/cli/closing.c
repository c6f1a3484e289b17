/* SPDX-License-Identifier: Apache-2.0 */
/* Closes images beside main; see closing.h. Must not know whose they were. */
#include "vmm/cli/closing.h"

#include <stdlib.h>

#include "vmm/cli/errand.h"

struct closing {
	struct errand errand;
	struct block_backend be;
};

static void run(void *opaque)
{
	const struct closing *c = opaque;

	block_backend_close(&c->be);
}

void closing_start(struct loop *loop, const struct block_backend *be)
{
	struct closing *c = calloc(1, sizeof(*c));
	struct error err;

	if (c) {
		c->be = *be;
		c->errand = (struct errand){ .run = run, .done = free, .opaque = c };
		if (!errand_start(&c->errand, loop, &err))
			return;
	}
	block_backend_close(be);
	free(c);
}
