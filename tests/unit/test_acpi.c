/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ACPI tables, found the way a kernel finds them and read at the specification's offsets; and
 * every one of them disassembled and compiled again by ACPICA's iasl, which must know each byte.
 */
#include "loader_test.h"

#include <errno.h>
#include <stdlib.h>

#include "loader/acpi.h"
#include "vmm/power_regs.h"
#include "vmm/x86/layout.h"

#define MAX_LISTED 8

struct tables {
	struct guest_memory mem;
	const uint8_t *listed[MAX_LISTED]; /* by the XSDT */
	unsigned nlisted;
	const uint8_t *xsdt;
	const uint8_t *dsdt;
};

static const uint8_t *table_at(const struct guest_memory *mem, gpa_t gpa)
{
	const uint8_t *p = guest_at(mem, gpa, 36);
	uint32_t len = word_at(p + 4, 4);

	assert_true(gpa >= X86_ACPI_RSDP && gpa + len <= X86_ACPI_END);
	assert_true(len >= 36);
	assert_int_equal(gpa % 16, 0);
	assert_int_equal(byte_sum(p, len), 0);
	return p;
}

static const uint8_t *find(const struct tables *t, const char *signature)
{
	for (unsigned i = 0; i < t->nlisted; i++)
		if (!memcmp(t->listed[i], signature, 4))
			return t->listed[i];
	return NULL;
}

static struct tables build(unsigned ncpus, bool pci, unsigned nmmio, uint32_t hotplug)
{
	struct tables t = { .mem = guest_alloc(2 * MIB, 0) };
	struct acpi_mmio_dev mmio[X86_VIRTIO_MMIO_COUNT];
	struct acpi_config config = {
		.ncpus = ncpus,
		.pci = pci,
		.hotplug = hotplug,
		.virtio_mmio = mmio,
		.nvirtio_mmio = nmmio,
	};
	struct error err = { 0 };
	const uint8_t *rsdp;
	gpa_t gpa;

	for (unsigned i = 0; i < nmmio; i++)
		mmio[i] = (struct acpi_mmio_dev){
			.base = X86_VIRTIO_MMIO + i * X86_VIRTIO_MMIO_STRIDE,
			.size = X86_VIRTIO_MMIO_STRIDE,
			.gsi = X86_GSI_VIRTIO_MMIO + i,
		};
	assert_int_equal(acpi_write(&t.mem, &config, &gpa, &err), 0);
	assert_int_equal(gpa, X86_ACPI_RSDP);
	rsdp = guest_at(&t.mem, gpa, 36);
	assert_memory_equal(rsdp, "RSD PTR ", 8);
	assert_int_equal(rsdp[15], 2);
	assert_int_equal(word_at(rsdp + 20, 4), 36);
	assert_int_equal(byte_sum(rsdp, 20), 0);
	assert_int_equal(byte_sum(rsdp, 36), 0);
	t.xsdt = table_at(&t.mem, word_at(rsdp + 24, 8));
	assert_memory_equal(t.xsdt, "XSDT", 4);
	t.nlisted = (word_at(t.xsdt + 4, 4) - 36) / 8;
	assert_true(t.nlisted <= MAX_LISTED);
	for (unsigned i = 0; i < t.nlisted; i++)
		t.listed[i] = table_at(&t.mem, word_at(t.xsdt + 36 + 8 * i, 8));
	assert_non_null(find(&t, "FACP"));
	t.dsdt = table_at(&t.mem, word_at(find(&t, "FACP") + 140, 8));
	assert_memory_equal(t.dsdt, "DSDT", 4);
	return t;
}

static void teardown(struct tables *t)
{
	guest_free(&t->mem);
}

static void assert_port(const uint8_t *gas, uint64_t port)
{
	assert_int_equal(gas[0], 1); /* system I/O */
	assert_int_equal(gas[1], 8); /* bits */
	assert_int_equal(gas[2], 0);
	assert_int_equal(gas[3], 1); /* byte access */
	assert_int_equal(word_at(gas + 4, 8), port);
}

static void the_fadt_announces_a_hardware_reduced_machine(void **state)
{
	struct tables t = build(1, true, 0, 0);
	const uint8_t *fadt = find(&t, "FACP");
	uint32_t flags = word_at(fadt + 112, 4);

	assert_int_equal(word_at(fadt + 4, 4), 276);
	assert_int_equal(fadt[8], 6);
	assert_int_equal(fadt[131], 5);
	assert_true(flags & 1 << 20);			/* HW_REDUCED_ACPI */
	assert_true(flags & 1 << 10);			/* RESET_REG_SUP */
	assert_true(flags & 1 << 4);			/* no fixed power button */
	assert_int_equal(word_at(fadt + 109, 2), 0x24); /* no 8042, no VGA, no CMOS RTC */
	assert_port(fadt + 116, X86_PORT_POWER + POWER_RESET);
	assert_int_equal(fadt[128], POWER_RESET_VALUE);
	assert_port(fadt + 244, X86_PORT_POWER + POWER_SLEEP_CONTROL);
	assert_port(fadt + 256, X86_PORT_POWER + POWER_SLEEP_STATUS);
	assert_int_equal(word_at(fadt + 40, 4), word_at(fadt + 140, 8));
	teardown(&t);
}

static void the_madt_lists_every_cpu_and_one_ioapic(void **state)
{
	static const unsigned counts[] = { 1, 2, 64, 254 };

	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		struct tables t = build(counts[i], true, 0, 0);
		const uint8_t *madt = find(&t, "APIC");
		const uint8_t *end = madt + word_at(madt + 4, 4);
		const uint8_t *p = madt + 44;
		unsigned cpus = 0, ioapics = 0, overrides = 0, nmis = 0;

		assert_int_equal(word_at(madt + 36, 4), X86_LAPIC);
		for (; p < end; p += p[1]) {
			assert_true(p[1] >= 2 && p[1] <= end - p);
			if (p[0] == 0) {
				assert_int_equal(p[2], cpus); /* pairs with _UID */
				assert_int_equal(p[3], cpus);
				assert_int_equal(word_at(p + 4, 4), 1);
				cpus++;
			} else if (p[0] == 1) {
				assert_int_equal(word_at(p + 4, 4), X86_IOAPIC);
				assert_int_equal(word_at(p + 8, 4), 0);
				ioapics++;
			} else if (p[0] == 2) {
				assert_int_equal(p[3], 4);
				assert_int_equal(word_at(p + 4, 4), X86_GSI_SERIAL);
				assert_int_equal(word_at(p + 8, 2), 5); /* high, edge */
				overrides++;
			} else if (p[0] == 4) {
				assert_int_equal(p[2], 0xff);
				assert_int_equal(p[5], 1);
				nmis++;
			} else {
				fail_msg("entry of type %u", p[0]);
			}
		}
		assert_ptr_equal(p, end);
		assert_int_equal(cpus, counts[i]);
		assert_int_equal(ioapics, 1);
		assert_int_equal(overrides, 1);
		assert_int_equal(nmis, 1);
		teardown(&t);
	}
}

static void pci_brings_an_mcfg_for_bus_0(void **state)
{
	struct tables t = build(1, true, 0, 0);
	const uint8_t *mcfg = find(&t, "MCFG");

	assert_non_null(mcfg);
	assert_int_equal(word_at(mcfg + 4, 4), 60);
	assert_int_equal(word_at(mcfg + 44, 8), X86_ECAM);
	assert_int_equal(word_at(mcfg + 52, 2), 0);
	assert_int_equal(mcfg[54], 0);
	assert_int_equal(mcfg[55], 0);
	teardown(&t);
	t = build(1, false, 2, 0);
	assert_null(find(&t, "MCFG"));
	teardown(&t);
}

static void what_cannot_be_described_is_refused(void **state)
{
	struct guest_memory mem = guest_alloc(2 * MIB, 0);
	struct guest_memory small = guest_alloc(900 * KIB, 0);
	struct acpi_config config = { .ncpus = 0 };
	struct error err = { 0 };
	gpa_t rsdp;

	assert_error(acpi_write(&mem, &config, &rsdp, &err), &err, "ACPI tables: 0 CPUs");
	config.ncpus = 256;
	assert_error(acpi_write(&mem, &config, &rsdp, &err), &err, "ACPI tables: 256 CPUs");
	config.ncpus = 1;
	assert_error(acpi_write(&small, &config, &rsdp, &err), &err, "below 1 MiB");
	guest_free(&mem);
	guest_free(&small);
}

static void tables_that_do_not_fit_are_refused_and_not_overrun(void **state)
{
	struct guest_memory mem = guest_alloc(2 * MIB, 0);
	static struct acpi_mmio_dev mmio[2000];
	const struct acpi_config config = {
		.ncpus = 254, .pci = true, .virtio_mmio = mmio, .nvirtio_mmio = 2000
	};
	struct error err = { 0 };
	const uint8_t *after;
	gpa_t rsdp;

	assert_error(acpi_write(&mem, &config, &rsdp, &err), &err, "need more than 65536 bytes");
	after = guest_at(&mem, X86_ACPI_END, 4096);
	for (unsigned i = 0; i < 4096; i++)
		assert_int_equal(after[i], 0);
	guest_free(&mem);
}

/* iasl: files in a folder of their own, which is removed in the end. */

static char dir[64];

static bool run(const char *command, const char *arg)
{
	char line[256];

	snprintf(line, sizeof(line), "cd %s && %s %s >log 2>&1", dir, command, arg);
	return system(line) == 0;
}

static bool have_iasl(void)
{
	return system("command -v iasl >/dev/null 2>&1") == 0;
}

static char *read_text(const char *name, size_t *len)
{
	char path[128];
	char *text;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "r");
	if (!f)
		fail_msg("%s was not written", name);
	text = calloc(1, 1 << 20);
	assert_non_null(text);
	*len = fread(text, 1, (1 << 20) - 1, f);
	fclose(f);
	return text;
}

static void write_table(const char *name, const uint8_t *table)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(table, 1, word_at(table + 4, 4), f), word_at(table + 4, 4));
	fclose(f);
}

static void assert_log(const char *says)
{
	size_t len;
	char *log = read_text("log", &len);

	if (!strstr(log, says))
		fail_msg("iasl does not say \"%s\": %s", says, log);
	free(log);
}

/*
 * To source and back. The result must be the same bytes but for the checksum (9) and the compiler's
 * own name and revision (28 to 35); -oa keeps iasl from improving on us.
 */
static void round_trip(const uint8_t *table)
{
	char *compiled;
	size_t len, i;

	write_table("t.dat", table);
	assert_true(run("iasl -d", "t.dat"));
	assert_true(run("iasl -oa", "t.dsl"));
	assert_log("0 Errors, 0 Warnings");
	compiled = read_text("t.aml", &len);
	assert_int_equal(len, word_at(table + 4, 4));
	for (i = 0; i < len; i++)
		if (i != 9 && !(i >= 28 && i < 36))
			assert_int_equal((uint8_t)compiled[i], table[i]);
	free(compiled);
}

static void skip_without_iasl(void)
{
	if (have_iasl())
		return;
	print_message("iasl (package acpica-tools) is not installed\n");
	skip();
}

static void iasl_gives_back_every_table_byte_by_byte(void **state)
{
	static const struct {
		unsigned ncpus;
		bool pci;
		unsigned nmmio;
		uint32_t hotplug;
	} configs[] = { { 1, true, 0, 0 },    { 2, false, 1, 0 },   { 64, true, 0, 1u << 31 },
			{ 64, false, 18, 0 }, { 254, true, 18, 0 }, { 254, true, 0, ~1u } };

	skip_without_iasl();
	for (size_t i = 0; i < sizeof(configs) / sizeof(configs[0]); i++) {
		struct tables t = build(configs[i].ncpus, configs[i].pci, configs[i].nmmio,
					configs[i].hotplug);

		round_trip(t.dsdt);
		round_trip(t.xsdt);
		for (unsigned k = 0; k < t.nlisted; k++)
			round_trip(t.listed[k]);
		teardown(&t);
	}
}

/* The source of the DSDT with all white space and comments gone. */
static char *disassemble(const uint8_t *dsdt)
{
	size_t len, in, out = 0;
	char *text;

	write_table("t.dat", dsdt);
	assert_true(run("iasl -d", "t.dat"));
	text = read_text("t.dsl", &len);
	for (in = 0; in < len; in++) {
		if (!strncmp(text + in, "//", 2))
			in += strcspn(text + in, "\n");
		else if (!strncmp(text + in, "/*", 2))
			in = strstr(text + in, "*/") + 1 - text;
		else if (!strchr(" \t\n", text[in]))
			text[out++] = text[in];
	}
	text[out] = '\0';
	return text;
}

static unsigned occurrences(const char *text, const char *what)
{
	unsigned n = 0;

	for (text = strstr(text, what); text; text = strstr(text + 1, what))
		n++;
	return n;
}

static void assert_device(const char *text, const char *source)
{
	if (occurrences(text, source) != 1)
		fail_msg("the DSDT does not say %s", source);
}

#define EDGE_IRQ(gsi) "Interrupt(ResourceConsumer,Edge,ActiveHigh,Exclusive,,,){" gsi ",}"

static void the_dsdt_describes_what_there_is(void **state)
{
	struct tables t = build(2, true, 0, 0);
	char *text;

	skip_without_iasl();
	text = disassemble(t.dsdt);
	assert_device(text, "Name(\\_S5,Package(0x04){0x05,Zero,Zero,Zero})");
	assert_device(text, "Device(C001){Name(_HID,\"ACPI0007\")Name(_UID,One)}");
	assert_int_equal(occurrences(text, "ACPI0007"), 2);
	assert_device(text,
		      "Device(COM1){Name(_HID,EisaId(\"PNP0501\"))Name(_UID,One)Name(_STA,0x0F)"
		      "Name(_CRS,ResourceTemplate(){IO(Decode16,0x03F8,0x03F8,0x01,0x08,)" EDGE_IRQ(
			      "0x00000004") "})}");
	assert_device(text,
		      "Device(PEVT){Name(_HID,\"QEMU0001\")Name(_STA,0x0F)"
		      "Name(_CRS,ResourceTemplate(){IO(Decode16,0x0505,0x0505,0x01,0x01,)})}");
	assert_device(text, "Device(PWRB){Name(_HID,EisaId(\"PNP0C0C\"))Name(_UID,Zero)}");
	assert_device(text, "Device(GED){Name(_HID,\"ACPI0013\")Name(_UID,Zero)"
			    "Name(_CRS,ResourceTemplate(){" EDGE_IRQ(
				    "0x00000005") "})"
						  "OperationRegion(GEDR,SystemIO,0x0604,0x04)"
						  "Field(GEDR,DWordAcc,NoLock,Preserve){EVTS,32}"
						  "Method(_EVT,1,Serialized){Local0=EVTS"
						  "If((Local0&One)){Notify(\\_SB.PWRB,0x80)}}}");
	assert_device(text, "Device(ECAM){Name(_HID,EisaId(\"PNP0C02\"))Name(_UID,Zero)"
			    "Name(_CRS,ResourceTemplate(){"
			    "Memory32Fixed(ReadWrite,0xE0000000,0x00100000,)})}");
	assert_device(text,
		      "Device(PCI0){Name(_HID,EisaId(\"PNP0A08\"))Name(_CID,EisaId(\"PNP0A03\"))");
	assert_device(text, "DWordMemory(ResourceProducer,PosDecode,MinFixed,MaxFixed,NonCacheable,"
			    "ReadWrite,0x00000000,0xC0000000,0xCFFFFFFF,0x00000000,0x10000000,");
	assert_int_equal(occurrences(text, "_PRT"), 0);
	assert_int_equal(occurrences(text, "LNRO0005"), 0);
	free(text);
	teardown(&t);
}

static void slots_of_hotplug_can_be_notified_and_ejected(void **state)
{
	struct tables t = build(1, true, 0, 1u << 31 | 1u << 2);
	char *text;

	skip_without_iasl();
	text = disassemble(t.dsdt);
	assert_device(text, "OperationRegion(HPR0,SystemIO,0x0610,0x04)"
			    "Field(HPR0,DWordAcc,NoLock,Preserve){HPIN,32}");
	assert_device(text, "OperationRegion(HPR1,SystemIO,0x0614,0x04)"
			    "Field(HPR1,DWordAcc,NoLock,Preserve){HPAS,32}");
	assert_device(text, "OperationRegion(HPR2,SystemIO,0x0618,0x04)"
			    "Field(HPR2,DWordAcc,NoLock,Preserve){HPEJ,32}");
	assert_device(text, "Device(S002){Name(_ADR,0x00020000)Name(_SUN,0x02)"
			    "Method(_EJ0,1,Serialized){HPEJ=0x04}}");
	assert_device(text, "Device(S01F){Name(_ADR,0x001F0000)Name(_SUN,0x1F)"
			    "Method(_EJ0,1,Serialized){HPEJ=0x80000000}}");
	assert_device(text, "Local0=\\_SB.PCI0.HPIN"
			    "If((Local0&0x04)){Notify(\\_SB.PCI0.S002,One)}"
			    "If((Local0&0x80000000)){Notify(\\_SB.PCI0.S01F,One)}"
			    "Local0=\\_SB.PCI0.HPAS"
			    "If((Local0&0x04)){Notify(\\_SB.PCI0.S002,0x03)}"
			    "If((Local0&0x80000000)){Notify(\\_SB.PCI0.S01F,0x03)}}");
	assert_int_equal(occurrences(text, "_EJ0"), 2);
	free(text);
	teardown(&t);
}

static void virtio_mmio_devices_come_in_order_and_without_pci(void **state)
{
	struct tables t = build(1, false, 18, 0);
	const char *last = NULL;
	char *text;

	skip_without_iasl();
	text = disassemble(t.dsdt);
	assert_int_equal(occurrences(text, "PNP0A08"), 0);
	assert_int_equal(occurrences(text, "PNP0C02"), 0);
	assert_int_equal(occurrences(text, "LNRO0005"), 18);
	for (unsigned i = 0; i < 18; i++) {
		char want[256];
		const char *at;

		snprintf(want, sizeof(want),
			 "Name(_CCA,One)Name(_CRS,ResourceTemplate(){"
			 "Memory32Fixed(ReadWrite,0xD00%02X000,0x00001000,)" EDGE_IRQ(
				 "0x000000%02X") "})}",
			 i, 6 + i);
		at = strstr(text, want);
		if (!at)
			fail_msg("device %u: the DSDT does not say %s", i, want);
		assert_true(!last || at > last);
		last = at;
	}
	free(text);
	teardown(&t);
}

static int make_dir(void **state)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(dir, sizeof(dir), "%.32s/mvmm-acpi-XXXXXX", tmp ? tmp : "/tmp");
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	char line[96];

	snprintf(line, sizeof(line), "rm -rf '%s'", dir);
	return system(line);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_fadt_announces_a_hardware_reduced_machine),
		cmocka_unit_test(the_madt_lists_every_cpu_and_one_ioapic),
		cmocka_unit_test(pci_brings_an_mcfg_for_bus_0),
		cmocka_unit_test(what_cannot_be_described_is_refused),
		cmocka_unit_test(tables_that_do_not_fit_are_refused_and_not_overrun),
		cmocka_unit_test(iasl_gives_back_every_table_byte_by_byte),
		cmocka_unit_test(the_dsdt_describes_what_there_is),
		cmocka_unit_test(slots_of_hotplug_can_be_notified_and_ejected),
		cmocka_unit_test(virtio_mmio_devices_come_in_order_and_without_pci),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
