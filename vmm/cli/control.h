/* SPDX-License-Identifier: Apache-2.0 */
/* The control loop: what main does while the vCPUs run. */
#ifndef MVMM_CLI_CONTROL_H
#define MVMM_CLI_CONTROL_H

#include <stdint.h>

#include "vmm/cli/input.h"
#include "vmm/cli/loop.h"
#include "vmm/cli/machine.h"
#include "vmm/cli/terminal.h"

struct control {
	struct machine *machine;
	struct terminal *term;
	int signal_fd;		    /* SIGINT, SIGTERM, SIGHUP */
	int input_fd;		    /* console input; -1: none */
	uint64_t limit;		    /* clock_ms() at which --timeout runs out, or CLOCK_NEVER */
	void (*tick)(void *opaque); /* NULL, or called about once a second */
	void *opaque;
	struct loop loop; /* zero; others of main may add what they watch, before or meanwhile */
	/* control.c's own */
	struct input input;
	struct loop_watch on_signal, on_vm, on_input, on_space;
	struct loop_timer check; /* once a second: halted? terminal ours again? */
	struct loop_timer timeout;
	struct loop_timer panic; /* a panicked guest has until then to say more */
};

/* Returns once vm_end_reason() is not VM_RUNNING. */
void control_run(struct control *c);

#endif
