/* SPDX-License-Identifier: Apache-2.0 */
/* The VM as a whole on the control socket: what it is, pausing it, and the ways to end it. Main. */
#include <errno.h>
#include <time.h>

#include "vmm/cli/api/handlers.h"
#include "vmm/cli/clock.h"
#include "vmm/cli/disk_stop.h"
#include "vmm/cli/machine.h"
#include "vmm/vcpu.h"

/* Nanoseconds that a vCPU's thread has run, in the guest or for it. */
static json_t *cpu_time(const struct vcpu *vcpu)
{
	struct timespec ts;
	clockid_t clock;

	if (!vcpu->started || pthread_getcpuclockid(vcpu->thread, &clock) ||
	    clock_gettime(clock, &ts))
		return json_null();
	return json_integer((json_int_t)ts.tv_sec * 1000000000 + ts.tv_nsec);
}

static json_t *vcpus_json(const struct vm *vm)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < vm->nvcpus; i++)
		json_array_append_new(list, json_pack("{s:i, s:o}", "id", i, "cpu_time_ns",
						      cpu_time(&vm->vcpu[i])));
	return list;
}

/* Why the VM pauses without having been asked to. */
static json_t *reason(const struct machine *m)
{
	char text[512];

	return api_string(disk_stop_reason(m, text, sizeof(text)) ? text : NULL);
}

void vm_show(struct api_request *req)
{
	const struct machine *m = req->ctx->machine;
	const struct run_options *opt = m->opt;

	api_reply(req, 200,
		  json_pack("{s:s, s:o, s:s, s:o, s:I, s:I, s:s, s:o, s:i}", "version",
			    MVMM_VERSION, "name", api_string(opt->name), "state",
			    pausing_state_name(&m->pausing), "reason", reason(m), "uptime_ms",
			    (json_int_t)(clock_ms() - req->ctx->started), "memory",
			    (json_int_t)opt->memory, "transport",
			    opt->transport == TRANSPORT_PCI ? "pci" : "mmio", "vcpus",
			    vcpus_json(&m->vm), "disks", m->ndisks));
}

/* Whoever asked may be gone by now; the pause stays. */
static void changed(void *opaque, int result)
{
	struct api_request *req = opaque;

	if (result)
		api_error(req, 409, "somebody has resumed the VM meanwhile");
	else
		api_reply(req, 204, NULL);
}

/* As PUT should: what is so already is as good as done. */
static void change(struct api_request *req,
		   int (*to)(struct pausing *p, pausing_done done, void *opaque))
{
	struct pausing *p = &req->ctx->machine->pausing;
	const int ret = to(p, changed, req);

	if (ret == -EALREADY)
		api_reply(req, 204, NULL);
	else if (ret)
		api_error(req, 409, "the VM is %s", pausing_state_name(p));
}

void vm_pause_all(struct api_request *req)
{
	change(req, pausing_pause);
}

void vm_resume_all(struct api_request *req)
{
	change(req, pausing_resume);
}

void vm_power_button(struct api_request *req)
{
	power_raise(&req->ctx->machine->power, POWER_GED_BUTTON);
	api_reply(req, 204, NULL);
}

/* The answer first: main is about to leave its loop. */
static void end(struct api_request *req, enum vm_end why)
{
	struct vm *vm = &req->ctx->machine->vm;

	api_reply(req, 204, NULL);
	vm_request_end(vm, why, 0);
}

void vm_reset(struct api_request *req)
{
	end(req, VM_END_RESET);
}

void vm_quit(struct api_request *req)
{
	end(req, VM_END_QUIT);
}
