/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `mvmm check`: what this host's KVM can do, as a table for people or one line of JSON for scripts.
 * Main. The exit status is the verdict.
 */
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#include "vmm/arch.h"
#include "vmm/cli/commands.h"
#include "vmm/cli/result.h"
#include "vmm/kvm.h"
#include "vmm/kvm_caps.h"

/* Native execution is in the hundreds even under a slow emulator of the whole host; emulation one
 * instruction at a time is near 1. */
#define NATIVE_MIPS 10.0

struct check {
	bool json;
	const char *path; /* NULL: /dev/kvm */
	int kvm_fd;
	bool complete; /* every required capability is there */
	double mips;   /* 0: could not be measured */
};

static int set_json(void *into, const char *value, struct error *err)
{
	((struct check *)into)->json = true;
	return 0;
}

static int set_device(void *into, const char *value, struct error *err)
{
	((struct check *)into)->path = value;
	return 0;
}

static const struct option_spec check_options[] = {
	{ "json", NULL, "one line of JSON instead of a table", set_json },
	{ "device", "PATH", "ask this device instead of /dev/kvm", set_device },
	{ NULL, NULL, NULL, NULL },
};

const struct command_spec check_command = {
	.name = "check",
	.synopsis = "[--json]",
	.summary = "Tells what this host's KVM can do and whether it can boot stock kernels.",
	.options = check_options,
	.epilogue = "Exit status: 0 KVM boots stock kernels, 1 no usable KVM, 2 usage,\n"
		    "3 KVM works, but emulates kernel code: too slow for stock kernels.\n",
};

static void print_cap(const struct check *c, const struct kvm_cap *cap, bool first, int value)
{
	if (c->json)
		printf("%s\"%s\":%d", first ? "" : ",", cap->name, value);
	else
		printf("  %-30s %-8s %s%s\n", cap->name, value > 0 ? "yes" : "no",
		       cap->required ? "" : "(optional) ", cap->purpose);
}

static void list_caps(struct check *c)
{
	const struct kvm_cap *cap;

	c->complete = true;
	for (unsigned i = 0; (cap = kvm_cap_at(i)); i++) {
		int value = kvm_check_extension(c->kvm_fd, cap->number);

		if (value <= 0 && cap->required)
			c->complete = false;
		print_cap(c, cap, i == 0, value > 0 ? value : 0);
	}
}

static int verdict(const struct check *c)
{
	if (!c->complete)
		return STATUS_ERROR;
	return c->mips >= NATIVE_MIPS ? STATUS_POWEROFF : STATUS_SLOW;
}

static void print_json_end(const struct check *c)
{
	printf("},\"kernel_mode_mips\":%.1f,\"native\":%s,\"status\":%d}\n", c->mips,
	       c->mips >= NATIVE_MIPS ? "true" : "false", verdict(c));
}

static void print_table_end(const struct check *c)
{
	if (c->mips > 0)
		printf("kernel-mode code: %s, %.1f million instructions per second\n",
		       c->mips >= NATIVE_MIPS ? "native" : "emulated", c->mips);
	else
		printf("kernel-mode code: does not run\n");
	if (!c->complete)
		printf("This host cannot run mvmm: a required capability is missing.\n");
	else if (c->mips >= NATIVE_MIPS)
		printf("This host boots stock kernels.\n");
	else
		printf("This host's KVM works, but is too slow for stock kernels.\n");
}

static int check_open_kvm(struct check *c, struct error *err)
{
	struct error slow;

	if (c->json)
		printf("{\"capabilities\":{");
	else
		printf("KVM: %s\n", c->path ? c->path : "/dev/kvm");
	list_caps(c);
	if (c->complete && arch_probe_native(c->kvm_fd, &c->mips, &slow)) {
		c->mips = 0;
		*err = slow;
	}
	if (c->json)
		print_json_end(c);
	else
		print_table_end(c);
	return verdict(c);
}

int check_main(int argc, char **argv, struct error *err)
{
	struct check c = { 0 };
	int status, ret = options_parse(&check_command, argc, argv, &c, err);

	if (ret == OPTIONS_HELP) {
		options_print_help(&check_command, stdout);
		return 0;
	}
	if (ret)
		return STATUS_USAGE;
	c.kvm_fd = kvm_open(c.path, err);
	if (c.kvm_fd < 0) {
		if (c.json)
			printf("{\"status\":%d}\n", STATUS_ERROR);
		return STATUS_ERROR;
	}
	status = check_open_kvm(&c, err);
	close(c.kvm_fd);
	return status;
}
