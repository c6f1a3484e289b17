/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a machine that is complete to one that runs: the order in which threads start and enter the
 * sandbox. Main thread. Must not know what a role may do.
 */
#include "vmm/cli/launch.h"

#include <string.h>

#include "vmm/cli/roles.h"
#include "vmm/cli/violation.h"
#include "vmm/log.h"

int launch_prepare(struct sandbox *sandbox, const struct run_options *opt, bool again,
		   struct error *err)
{
	int ret = sandbox_init(sandbox, opt->sandbox, role_programs, ROLE_COUNT, err);

	if (ret)
		return ret;
	if (sandbox->missing && !again)
		log_warn("sandbox: this host's kernel has no %s (%s): going on without",
			 sandbox->missing, strerror(sandbox->why));
	if (sandbox->filters)
		violation_report();
	return 0;
}

int launch_restrict_parent(const struct run_options *opt, struct error *err)
{
	/* First, or nobody could tell of a violation. Without a filter there is none. */
	violation_report();
	return sandbox_restrict(opt->sandbox, &parent_program, err);
}

/* Who serves the control socket needs a few calls more. */
static enum role main_role(const struct run_options *opt)
{
	return opt->control ? ROLE_MAIN_CONTROL : ROLE_MAIN;
}

int launch(struct machine *machine, struct ending *ending, struct error *err)
{
	const struct thread_hook hook = sandbox_hook(machine->sandbox, ROLE_ENDING);
	int ret = ending_prepare(ending, &hook, err);

	if (ret)
		return ret;
	ret = vm_start_vcpus(&machine->vm, err);
	if (ret)
		return ret;
	ret = sandbox_seal(machine->sandbox, main_role(machine->opt), err);
	if (ret)
		vm_stop_vcpus(&machine->vm);
	else
		vm_release_vcpus(&machine->vm);
	return ret;
}
