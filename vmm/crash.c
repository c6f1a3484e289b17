/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The report of a vCPU that cannot go on, and the end of the VM for that reason.
 *
 * Runs on the vCPU's thread, outside KVM_RUN. Knows no registers: arch_vcpu_dump() does.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/arch.h"
#include "vmm/log.h"
#include "vmm/vcpu.h"

#define REPORT_MAX 8192

/* Unbuffered: stdio would allocate its buffer at the first write. */
int vcpu_report_open(struct vm *vm, struct error *err)
{
	vm->report_text = malloc(REPORT_MAX);
	if (vm->report_text)
		vm->report = fmemopen(vm->report_text, REPORT_MAX, "w");
	if (!vm->report)
		return error_set(err, ENOMEM, "cannot allocate room for a crash report");
	setvbuf(vm->report, NULL, _IONBF, 0);
	return 0;
}

void vcpu_report_close(struct vm *vm)
{
	if (vm->report)
		fclose(vm->report);
	free(vm->report_text);
	vm->report = NULL;
	vm->report_text = NULL;
}

/* In one piece, so that the guest's console output does not run through it. */
static void print_report(struct vcpu *vcpu, const char *reason)
{
	FILE *out = vcpu->vm->report;
	long len;

	if (!out)
		return;
	fprintf(out, "mvmm: vcpu%u: %s\n", vcpu->id, reason);
	arch_vcpu_dump(vcpu, out);
	len = ftell(out);
	if (len > 0)
		log_raw(vcpu->vm->report_text, len);
}

static void end_with_report(struct vcpu *vcpu, enum vm_end end, uint32_t value, const char *reason)
{
	struct vm *vm = vcpu->vm;
	const bool panicked = end == VM_END_CRASH && atomic_load(&vm->panicked);

	/* A guest on its way out through a reset may triple-fault on another vCPU: no news. Nor is it
	 * one of a guest that has panicked and said why. */
	if (vm_end_reason(vm, NULL) == VM_RUNNING && !panicked &&
	    !atomic_exchange(&vm->reported, true))
		print_report(vcpu, reason);
	vm_request_end(vm, end, value);
}

void vcpu_crash(struct vcpu *vcpu, const char *fmt, ...)
{
	char reason[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(reason, sizeof(reason), fmt, ap);
	va_end(ap);
	end_with_report(vcpu, VM_END_CRASH, 0, reason);
}

void vcpu_host_error(struct vcpu *vcpu, int code, const char *what)
{
	char reason[128], text[64];

	snprintf(reason, sizeof(reason), "%s: %s", what, strerror_r(code, text, sizeof(text)));
	end_with_report(vcpu, VM_END_HOST_ERROR, code, reason);
}
