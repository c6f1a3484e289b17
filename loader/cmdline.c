/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's command line, put whole or not at all. Main only. */
#include "loader/kernel.h"

#include <errno.h>
#include <string.h>

#include "vmm/x86/layout.h"

int cmdline_load(const struct guest_memory *mem, const char *cmdline, uint32_t max,
		 struct error *err)
{
	size_t len = strlen(cmdline);
	int ret;

	if (max > X86_CMDLINE_MAX - 1)
		max = X86_CMDLINE_MAX - 1;
	/* Cut off, it would lose what the user gave last and cares about most. */
	if (len > max)
		return error_setx(err, E2BIG,
				  "kernel command line: %zu bytes long, this kernel takes %u", len,
				  max);
	ret = guest_memory_write(mem, X86_CMDLINE, cmdline, len + 1);
	if (ret)
		return error_set(err, -ret, "kernel command line: cannot write to guest memory");
	return 0;
}
