/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compiles the rules of vmm/cli/roles.c into seccomp programs with libseccomp, as C source on
 * standard output. Runs when mvmm is built, on the building machine:
 *
 *	mkfilters ARCH		x86 or arm64
 *
 * At run time the same work would take mvmm 0.3 ms per start: libseccomp alone is a tenth of that
 * to load.
 */
#include <err.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmm/cli/roles.h"

#define MAX_CALL 600
#define ABSENT	 SCMP_ACT_ERRNO(ENOSYS)

static uint32_t arch_token(const char *name)
{
	if (!strcmp(name, "x86"))
		return SCMP_ARCH_X86_64;
	if (!strcmp(name, "arm64"))
		return SCMP_ARCH_AARCH64;
	errx(1, "unknown architecture '%s'", name);
}

/* Of "poll|ppoll" the first that `arch` has: what it has not has a negative number there. Programs
 * of any architecture are made from the building machine's own numbers. */
static int resolve(uint32_t arch, const char *calls)
{
	char copy[128], *rest = copy, *name;

	snprintf(copy, sizeof(copy), "%s", calls);
	while ((name = strsep(&rest, "|")))
		if (seccomp_syscall_resolve_name_arch(arch, name) >= 0)
			return seccomp_syscall_resolve_name(name);
	errx(1, "no such system call: %s", calls);
}

static void check(int ret, const char *what)
{
	if (ret < 0)
		errx(1, "%s: %s", what, strerror(-ret));
}

static void add_rule(scmp_filter_ctx ctx, int nr, const struct role_rule *rule)
{
	const struct scmp_arg_cmp cmp =
		SCMP_CMP(rule->arg, SCMP_CMP_MASKED_EQ, UINT32_MAX, rule->value);

	check(seccomp_rule_add_exact_array(ctx, rule->absent ? ABSENT : SCMP_ACT_ALLOW, nr,
					   rule->by_arg, &cmp),
	      rule->call);
}

static scmp_filter_ctx start(uint32_t arch, uint32_t otherwise)
{
	scmp_filter_ctx ctx = seccomp_init(otherwise);

	if (!ctx)
		errx(1, "seccomp_init");
	if (arch != seccomp_arch_native()) {
		check(seccomp_arch_add(ctx, arch), "seccomp_arch_add");
		check(seccomp_arch_remove(ctx, SCMP_ARCH_NATIVE), "seccomp_arch_remove");
	}
	check(seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS), "bad arch");
	return ctx;
}

/* The order of the table is that of the program, as far as libseccomp keeps it. */
static scmp_filter_ctx compile(uint32_t arch, enum role role)
{
	scmp_filter_ctx ctx = start(arch, SCMP_ACT_TRAP);
	int priority = 255;

	for (const struct role_rule *rule = role_rules; rule->call; rule++) {
		const int nr = resolve(arch, rule->call);

		if (!(rule->roles & 1U << role))
			continue;
		add_rule(ctx, nr, rule);
		check(seccomp_syscall_priority(ctx, nr, priority), rule->call);
		priority -= priority > 1;
	}
	return ctx;
}

static void forbid_clone_flags(scmp_filter_ctx ctx, uint32_t flags)
{
	for (uint32_t flag = 1; flag; flag <<= 1) {
		const struct scmp_arg_cmp cmp = SCMP_CMP(0, SCMP_CMP_MASKED_EQ, flag, flag);

		if (flags & flag)
			check(seccomp_rule_add_exact_array(ctx, SCMP_ACT_TRAP, SCMP_SYS(clone), 1,
							   &cmp),
			      "clone");
	}
	check(seccomp_rule_add_exact_array(ctx, ABSENT, SCMP_SYS(clone3), 0, NULL), "clone3");
}

/* What the table of parent_forbidden names, as far as `arch` has it, and namespaces by clone. */
static scmp_filter_ctx compile_parent(uint32_t arch)
{
	scmp_filter_ctx ctx = start(arch, SCMP_ACT_ALLOW);

	for (const char *const *name = parent_forbidden; *name; name++) {
		if (seccomp_syscall_resolve_name(*name) == __NR_SCMP_ERROR)
			errx(1, "no such system call: %s", *name);
		if (seccomp_syscall_resolve_name_arch(arch, *name) >= 0)
			check(seccomp_rule_add_exact_array(ctx, SCMP_ACT_TRAP,
							   seccomp_syscall_resolve_name(*name), 0,
							   NULL),
			      *name);
	}
	forbid_clone_flags(ctx, parent_forbidden_clone);
	return ctx;
}

/* libseccomp writes programs to descriptors only. */
static unsigned read_program(scmp_filter_ctx ctx, struct sock_filter *code, unsigned max)
{
	const int fd = memfd_create("program", 0);
	ssize_t len;

	if (fd < 0)
		err(1, "memfd_create");
	check(seccomp_export_bpf(ctx, fd), "seccomp_export_bpf");
	len = pread(fd, code, max * sizeof(*code), 0);
	if (len <= 0 || len == (ssize_t)(max * sizeof(*code)))
		errx(1, "a program of %zd bytes", len);
	close(fd);
	return len / sizeof(*code);
}

/* SECCOMP_RET_TRAP hands 16 bits of data to the handler, libseccomp's SCMP_ACT_TRAP does not. */
static void mark_traps(struct sock_filter *code, unsigned n, enum role role)
{
	unsigned marked = 0;

	for (unsigned i = 0; i < n; i++) {
		if (code[i].code != (BPF_RET | BPF_K) || code[i].k != SECCOMP_RET_TRAP)
			continue;
		code[i].k |= role + 1;
		marked++;
	}
	if (!marked)
		errx(1, "the program of role '%s' forbids nothing", role_names[role]);
}

/* Where the program compares with ROLE_OWN_PID, or 0. */
static unsigned find_pid(const struct sock_filter *code, unsigned n)
{
	unsigned at = 0;

	for (unsigned i = 0; i < n; i++) {
		if (code[i].code != (BPF_JMP | BPF_JEQ | BPF_K) || code[i].k != ROLE_OWN_PID)
			continue;
		if (at)
			errx(1, "more than one rule with ROLE_OWN_PID");
		at = i;
	}
	return at;
}

static void print_program(scmp_filter_ctx ctx, enum role role)
{
	static struct sock_filter code[SANDBOX_MAX_CODE + 1];
	const unsigned n = read_program(ctx, code, SANDBOX_MAX_CODE + 1);

	seccomp_release(ctx);
	mark_traps(code, n, role);
	printf("static const struct sock_filter %s_code[] = {\n", role_names[role]);
	for (unsigned i = 0; i < n; i++)
		printf("\t{ 0x%02x, %u, %u, 0x%08x },\n", code[i].code, code[i].jt, code[i].jf,
		       code[i].k);
	printf("};\n#define %s_pid_at %u\n\n", role_names[role], find_pid(code, n));
}

static void print_programs(void)
{
	printf("const struct sandbox_program role_programs[ROLE_COUNT] = {\n");
	for (unsigned role = 0; role < ROLE_COUNT; role++)
		printf("\t{ %s_code, sizeof(%s_code) / sizeof(%s_code[0]), %s_pid_at },\n",
		       role_names[role], role_names[role], role_names[role], role_names[role]);
	printf("};\n\n");
	printf("const struct sandbox_program parent_program = "
	       "{ parent_code, sizeof(parent_code) / sizeof(parent_code[0]), 0 };\n\n");
}

/* One string with a NUL after each name: a table of pointers would have to be relocated. */
static void print_names(uint32_t arch)
{
	unsigned at[MAX_CALL], len = 1;

	printf("static const char names[] =\n\t\"\\0\"\n");
	for (int nr = 0; nr < MAX_CALL; nr++) {
		char *name = seccomp_syscall_resolve_num_arch(arch, nr);

		at[nr] = name ? len : 0;
		if (name) {
			printf("\t\"%s\\0\"\n", name);
			len += strlen(name) + 1;
		}
		free(name);
	}
	printf("\t;\n\nstatic const unsigned short name_at[%d] = {\n", MAX_CALL);
	for (int nr = 0; nr < MAX_CALL; nr++)
		printf("\t%u,\n", at[nr]);
	printf("};\n\n"
	       "const char *role_call_name(int nr)\n{\n"
	       "\treturn nr >= 0 && nr < %d && name_at[nr] ? names + name_at[nr] : 0;\n}\n",
	       MAX_CALL);
}

int main(int argc, char **argv)
{
	uint32_t arch;

	if (argc != 2)
		errx(2, "usage: mkfilters ARCH");
	arch = arch_token(argv[1]);
	printf("/* Made by scripts/mkfilters.c for %s: do not edit. */\n"
	       "#include \"vmm/cli/roles.h\"\n\n",
	       argv[1]);
	for (unsigned role = 0; role < ROLE_COUNT; role++)
		print_program(compile(arch, role), role);
	print_program(compile_parent(arch), ROLE_PARENT);
	print_programs();
	print_names(arch);
	return fflush(stdout) || ferror(stdout);
}
