/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parts list of the machine: assemble() names every part in the order in which it is put
 * in. Main, before the vCPUs run. What only x86 has is in the section of that name; must not know
 * how the VM is run or ended.
 */
#include "vmm/cli/machine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "loader/acpi.h"
#include "loader/boot.h"
#include "loader/mptable.h"
#include "vmm/cli/roles.h"
#include "vmm/log.h"
#include "vmm/pci_config.h"
#include "vmm/x86/layout.h"

#define DEFAULT_APPEND "console=ttyS0 reboot=k panic=-1"

/* An interrupt line of its own: an eventfd that KVM turns into an edge on `gsi`. */
static int line_init(struct irq_line *line, int vm_fd, uint32_t gsi, struct error *err)
{
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	int ret;

	if (fd < 0)
		return error_set(err, errno, "interrupt line %u: eventfd", gsi);
	ret = irqfd_assign(vm_fd, fd, gsi);
	if (ret) {
		close(fd);
		return error_set(err, -ret, "interrupt line %u: KVM_IRQFD", gsi);
	}
	*line = (struct irq_line){ .fd = fd };
	return 0;
}

static void line_destroy(struct irq_line *line)
{
	if (line->fd >= 0)
		close(line->fd);
	line->fd = -1;
}

/* ---- x86 ---- */

struct acpi_mmio_dev machine_mmio_slot(unsigned i)
{
	return (struct acpi_mmio_dev){
		.base = X86_VIRTIO_MMIO + i * X86_VIRTIO_MMIO_STRIDE,
		.size = X86_VIRTIO_MMIO_STRIDE,
		.gsi = X86_GSI_VIRTIO_MMIO + i,
	};
}

/* The default where KVM can: two to three times the IOPS of exits. */
static bool wants_register_pages(const struct run_options *opt)
{
	return opt->transport == TRANSPORT_MMIO && opt->ndisks && opt->mmio_isr != MMIO_ISR_EXIT;
}

/* Before vm_create_machine(): a memslot. Device memory is coherent with the host's caches here. */
static int add_register_pages(struct machine *m, struct error *err)
{
	if (!wants_register_pages(m->opt))
		return 0;
	if (!virtio_mmio_pages_possible(&m->vm)) {
		log_verbose("this KVM has no read-only memory: going on with --mmio-isr exit");
		return 0;
	}
	log_verbose("%u virtio-mmio register pages are read-only memory", m->opt->ndisks);
	return virtio_mmio_pages_init(&m->mmio_pages, &m->vm, X86_VIRTIO_MMIO, m->opt->ndisks, err);
}

static int add_power(struct machine *m, struct error *err)
{
	int ret = line_init(&m->ged_line, m->vm.fd, X86_GSI_GED, err);

	if (ret)
		return ret;
	ret = power_init(&m->power, &m->vm, X86_PORT_POWER, m->ged_line, err);
	if (ret)
		line_destroy(&m->ged_line);
	return ret;
}

static bool has_hotplug(const struct machine *m)
{
	return m->opt->control && m->opt->transport == TRANSPORT_PCI;
}

/* The power block raises its events. */
static int add_hotplug(struct machine *m, struct error *err)
{
	return has_hotplug(m) ? plug_init(&m->plug, m, X86_PORT_HOTPLUG, err) : 0;
}

static void remove_hotplug(struct machine *m)
{
	if (has_hotplug(m))
		plug_destroy(&m->plug);
}

static int add_serial(struct machine *m, struct error *err)
{
	int ret = line_init(&m->serial_line, m->vm.fd, X86_GSI_SERIAL, err);

	if (ret)
		return ret;
	ret = serial_init(&m->serial, &m->vm.pio, X86_PORT_SERIAL, m->serial_line, &m->console,
			  err);
	if (ret)
		line_destroy(&m->serial_line);
	return ret;
}

static int add_pci(struct machine *m, struct error *err)
{
	struct vm *vm = &m->vm;
	int ret;

	if (m->opt->transport != TRANSPORT_PCI)
		return 0;
	ret = pci_bus_init(&m->pci, &vm->mmio, X86_PCI_BAR_BASE, X86_PCI_BAR_SIZE, err);
	return ret ? ret : pci_config_init(&m->pci, &vm->pio, &vm->mmio, X86_ECAM, err);
}

/* Parts that own nothing but their place on the bus. */
static int add_ports(struct machine *m, struct error *err)
{
	struct vm *vm = &m->vm;
	int ret = i8042_init(&m->i8042, vm, err);

	if (!ret)
		ret = cmos_init(&m->cmos, vm, err);
	if (!ret)
		ret = pvpanic_init(vm, err);
	return ret ? ret : add_pci(m, err);
}

static int add_platform(struct machine *m, struct error *err)
{
	int ret = add_ports(m, err);

	if (ret)
		return ret;
	ret = add_serial(m, err);
	if (ret)
		return ret;
	ret = add_power(m, err);
	if (ret)
		goto remove_serial;
	ret = add_hotplug(m, err);
	if (ret)
		goto remove_power;
	/* Last, so that a port of the user's choice is the one that is in the way. */
	if (m->opt->debug_exit)
		ret = debug_exit_init(&m->vm, m->opt->debug_exit_port, err);
	if (ret)
		goto remove_hotplug;
	return 0;

remove_hotplug:
	remove_hotplug(m);
remove_power:
	line_destroy(&m->ged_line);
remove_serial:
	serial_destroy(&m->serial);
	line_destroy(&m->serial_line);
	return ret;
}

static void remove_platform(struct machine *m)
{
	remove_hotplug(m);
	line_destroy(&m->ged_line);
	serial_destroy(&m->serial);
	line_destroy(&m->serial_line);
}

/* ACPI for kernels that read it, an MP table for those that do not. */
static int add_tables(struct machine *m, gpa_t *rsdp, struct error *err)
{
	const struct run_options *opt = m->opt;
	struct acpi_mmio_dev slot[X86_VIRTIO_MMIO_COUNT];
	struct acpi_config config = {
		.ncpus = opt->cpus,
		.pci = opt->transport == TRANSPORT_PCI,
		.hotplug = has_hotplug(m) ? ~1u : 0, /* all but the bridge's */
		.virtio_mmio = slot,
	};
	int ret;

	if (opt->transport == TRANSPORT_MMIO && !opt->mmio_cmdline)
		for (; config.nvirtio_mmio < m->ndisks; config.nvirtio_mmio++)
			slot[config.nvirtio_mmio] = machine_mmio_slot(config.nvirtio_mmio);
	ret = mptable_write(&m->vm.mem, opt->cpus, err);
	return ret ? ret : acpi_write(&m->vm.mem, &config, rsdp, err);
}

/* ---- any architecture ---- */

static void guest_panicked(void *opaque)
{
	vm_note_panic(opaque);
}

static int add_console(struct machine *m, int fd, struct error *err)
{
	const char *match = m->opt->panic_match;
	const struct thread_hook hook = sandbox_hook(m->sandbox, ROLE_CONSOLE);

	return console_start(&m->console, fd, match[0] ? match : NULL, guest_panicked, &m->vm,
			     &hook, err);
}

/* Fills guest memory and points the boot vCPU at the kernel. */
static int add_kernel(struct machine *m, struct error *err)
{
	struct boot_config config = { .kernel = m->opt->kernel, .initrd = m->opt->initrd };
	int ret = add_tables(m, &config.acpi_rsdp, err);

	if (ret)
		return ret;
	m->cmdline = machine_cmdline(m->opt);
	if (!m->cmdline)
		return error_set(err, ENOMEM, "kernel command line");
	config.cmdline = m->cmdline;
	ret = boot_load(&m->vm.mem, &config, &m->entry, err);
	if (!ret)
		ret = arch_vcpu_boot(&m->vm.vcpu[0], &m->entry, err);
	if (ret) {
		free(m->cmdline);
		m->cmdline = NULL;
	}
	return ret;
}

/* A list shorter than the vCPUs begins again. */
static void place_vcpus(struct machine *m)
{
	const struct run_options *opt = m->opt;

	for (unsigned i = 0; opt->naffinity && i < m->vm.nvcpus; i++)
		m->vm.vcpu[i].cpu = opt->affinity[i % opt->naffinity];
}

static int assemble(struct machine *m, int console_fd, struct error *err)
{
	const struct run_options *opt = m->opt;
	int ret = vm_init(&m->vm, NULL, err);

	if (ret)
		return ret;
	ret = add_register_pages(m, err);
	if (ret)
		goto destroy_vm;
	ret = vm_create_machine(&m->vm, opt->memory, opt->memory_flags, opt->cpus, err);
	if (ret)
		goto destroy_vm;
	place_vcpus(m);
	m->vm.vcpu_hook = sandbox_hook(m->sandbox, ROLE_VCPU);
	ret = add_console(m, console_fd, err);
	if (ret)
		goto destroy_vm;
	ret = add_platform(m, err);
	if (ret)
		goto stop_console;
	ret = machine_disks_add(m, err);
	if (ret)
		goto remove_platform;
	ret = add_kernel(m, err);
	if (ret)
		goto abandon_disks;
	bus_seal(&m->vm.pio);
	bus_seal(&m->vm.mmio);
	return 0;

abandon_disks:
	machine_disks_abandon(m);
remove_platform:
	remove_platform(m);
stop_console:
	console_stop(&m->console, 0);
destroy_vm:
	vm_destroy(&m->vm);
	virtio_mmio_pages_destroy(&m->mmio_pages);
	return ret;
}

struct machine *machine_create(const struct run_options *opt, int console_fd,
			       struct sandbox *sandbox, struct error *err)
{
	struct machine *m;

	if (machine_check_images(opt, err))
		return NULL;
	m = calloc(1, sizeof(*m));
	if (!m) {
		error_set(err, ENOMEM, "machine");
		return NULL;
	}
	m->opt = opt;
	m->sandbox = sandbox;
	if (assemble(m, console_fd, err)) {
		free(m);
		return NULL;
	}
	return m;
}

unsigned machine_max_disks(enum transport transport)
{
	return transport == TRANSPORT_PCI ? MACHINE_MAX_DISKS : X86_VIRTIO_MMIO_COUNT;
}

int machine_check_options(const struct run_options *opt, struct error *err)
{
	unsigned max = machine_max_disks(opt->transport);

	if (opt->ndisks <= max)
		return 0;
	return error_setx(err, EINVAL, "--disk '%s': %s has room for %u disks", opt->disk[max].path,
			  opt->transport == TRANSPORT_PCI ? "the PCI bus" : "--transport mmio",
			  max);
}

/* A block device is the same by its number, whatever node names it. */
static bool same_image(const char *a, const char *b)
{
	struct stat sa, sb;

	if (stat(a, &sa) || stat(b, &sb))
		return false; /* opening it will say why */
	if (S_ISBLK(sa.st_mode) && S_ISBLK(sb.st_mode))
		return sa.st_rdev == sb.st_rdev;
	return sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
}

static bool writes(const struct disk_config *disk)
{
	return !disk->readonly && !disk->overlay;
}

int machine_check_images(const struct run_options *opt, struct error *err)
{
	for (unsigned i = 1; i < opt->ndisks; i++) {
		const struct disk_config *a = &opt->disk[i];

		for (unsigned j = 0; j < i; j++) {
			const struct disk_config *b = &opt->disk[j];

			if ((writes(a) || writes(b)) && same_image(a->path, b->path))
				return error_setx(err, EBUSY,
						  "disk '%s': the same image as disk '%s'; only "
						  "disks that are readonly or have an overlay may "
						  "share one",
						  a->path, b->path);
		}
	}
	return 0;
}

/* Ours come first: what follows "--" in the user's part belongs to init. */
char *machine_cmdline(const struct run_options *opt)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		return NULL;
	if (!opt->no_default_append)
		fputs(DEFAULT_APPEND " ", f);
	if (opt->mmio_cmdline) {
		for (unsigned i = 0; i < opt->ndisks; i++) {
			struct acpi_mmio_dev slot = machine_mmio_slot(i);

			fprintf(f, "virtio_mmio.device=%uK@0x%llx:%u ", slot.size / 1024,
				(unsigned long long)slot.base, slot.gsi);
		}
	}
	if (opt->append)
		fputs(opt->append, f);
	if (fclose(f)) {
		free(text);
		return NULL;
	}
	size = strlen(text);
	if (size && text[size - 1] == ' ')
		text[size - 1] = '\0';
	return text;
}
