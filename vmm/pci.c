/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The PCI host bridge: who answers a configuration access, and who a memory access in the window.
 *
 * Runs on vCPU threads; main adds and removes functions beside them. One lock guards configuration
 * bytes, BAR placement and who is there; it is held for copies and for moving doorbells, never while
 * a function works on an access: those are counted, and a function stays until its count is 0. Must
 * not know what any function is.
 */
#include "vmm/pci.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "vmm/pci_words.h"

/* "QEMU PCIe Host bridge" in the list of ids: every guest knows it needs no driver. */
#define BRIDGE_VENDOR 0x1b36
#define BRIDGE_DEVICE 0x0008
#define BRIDGE_CLASS  0x060000

/* ---- BARs: under the lock -------------------------------------------------------------------- */

static bool ranges_overlap(gpa_t a, uint64_t a_len, gpa_t b, uint64_t b_len)
{
	return a < b + b_len && b < a + a_len;
}

static void release_bar(struct pci_func *func)
{
	if (!func->bar_claimed)
		return;
	func->bar_claimed = false;
	func->ops->bar_moved(func, 0, false);
}

/* Functions that do not decode lose doorbells they left in this place. Two that decode in one place
 * are the guest's doing: the first in slot order answers, and KVM keeps the first doorbell. */
static void evict_stale(struct pci_bus *pci, const struct pci_func *func, gpa_t addr)
{
	for (unsigned i = 0; i < PCI_SLOTS; i++) {
		struct pci_func *other = pci->slot[i];

		if (other && other != func && other->bar_claimed && !other->bar_mapped &&
		    ranges_overlap(other->bar_addr, other->bar_size, addr, func->bar_size))
			release_bar(other);
	}
}

static bool in_window(const struct pci_bus *pci, gpa_t addr, uint64_t len)
{
	return addr >= pci->window && len <= pci->window_size &&
	       addr - pci->window <= pci->window_size - len;
}

static void claim_bar(struct pci_bus *pci, struct pci_func *func, gpa_t addr)
{
	evict_stale(pci, func, addr);
	func->bar_addr = addr;
	func->bar_claimed = true;
	func->ops->bar_moved(func, addr, true);
}

/* A function that stops decoding would keep the kicks of one that decodes in the same place, whose
 * doorbells KVM refused: that one is told again. */
static void hand_over(struct pci_bus *pci, const struct pci_func *func)
{
	for (unsigned i = 0; i < PCI_SLOTS && func->bar_claimed; i++) {
		struct pci_func *other = pci->slot[i];

		if (other && other != func && other->bar_mapped &&
		    ranges_overlap(other->bar_addr, other->bar_size, func->bar_addr,
				   func->bar_size))
			claim_bar(pci, other, other->bar_addr);
	}
}

/* After a write to the command register or the BAR: what decodes now, and do the doorbells move? */
static void update_bar(struct pci_bus *pci, struct pci_func *func)
{
	const bool decode = pci_get16(func->config, PCI_COMMAND) & PCI_COMMAND_MEMORY;
	/* Below bar_size only type bits are set, and ours are all 0. */
	const gpa_t addr = pci_get32(func->config, PCI_BASE_ADDRESS_0);

	if (!func->bar_size || !func->shown)
		return;
	func->bar_mapped = decode && in_window(pci, addr, func->bar_size);
	if (!decode)
		hand_over(pci, func);
	else if (!func->bar_mapped)
		release_bar(func);
	else if (!func->bar_claimed || func->bar_addr != addr)
		claim_bar(pci, func, addr);
}

/*
 * Users are vCPUs inside an access. Whoever finds a function is one until it says leave(); after
 * that it may not look at it any more. The last one out of a function that is hidden tells main,
 * who waits to remove it.
 */
static struct pci_func *enter(struct pci_func *func)
{
	if (func)
		func->users++;
	return func;
}

static void leave(struct pci_bus *pci, struct pci_func *func)
{
	const uint64_t one = 1;
	bool last;

	pthread_mutex_lock(&pci->lock);
	last = !--func->users && !func->shown;
	pthread_mutex_unlock(&pci->lock);
	if (last && pci->left_fd >= 0 && write(pci->left_fd, &one, sizeof(one)) < 0)
		return; /* EAGAIN: main is on its way */
}

/* The function whose BAR holds all of [addr, addr + len), entered, and where in it. */
static struct pci_func *find_bar(struct pci_bus *pci, gpa_t addr, unsigned len, uint64_t *off)
{
	struct pci_func *found = NULL;

	pthread_mutex_lock(&pci->lock);
	for (unsigned i = 0; i < PCI_SLOTS && !found; i++) {
		struct pci_func *func = pci->slot[i];

		if (!func || !func->bar_mapped || addr < func->bar_addr)
			continue;
		*off = addr - func->bar_addr;
		if (*off < func->bar_size && len <= func->bar_size - *off)
			found = enter(func);
	}
	pthread_mutex_unlock(&pci->lock);
	return found;
}

static void window_read(void *opaque, uint64_t off, void *data, unsigned len)
{
	struct pci_bus *pci = opaque;
	struct pci_func *func = find_bar(pci, pci->window + off, len, &off);

	if (!func)
		return;
	func->ops->bar_read(func, off, data, len);
	leave(pci, func);
}

static void window_write(void *opaque, uint64_t off, const void *data, unsigned len)
{
	struct pci_bus *pci = opaque;
	struct pci_func *func = find_bar(pci, pci->window + off, len, &off);

	if (!func)
		return;
	func->ops->bar_write(func, off, data, len);
	leave(pci, func);
}

static const struct bus_ops window_ops = { window_read, window_write };

/* ---- configuration space --------------------------------------------------------------------- */

/* Entered; NULL for what is not there: other functions of a device, bytes beyond 256, and anything
 * that is not within one aligned dword, as on the wire. */
static struct pci_func *find_config(struct pci_bus *pci, unsigned devfn, unsigned off, unsigned len)
{
	struct pci_func *func;

	if (devfn % 8 || devfn / 8 >= PCI_SLOTS || off >= PCI_CONFIG_SIZE || off % 4 + len > 4)
		return NULL;
	pthread_mutex_lock(&pci->lock);
	func = pci->slot[devfn / 8];
	func = enter(func && func->shown ? func : NULL);
	pthread_mutex_unlock(&pci->lock);
	return func;
}

static bool is_window(const struct pci_func *func, unsigned off)
{
	return func->window && off / 4 == func->window / 4u;
}

void pci_func_read_config(struct pci_func *func, unsigned off, void *data, unsigned len)
{
	pthread_mutex_lock(&func->bus->lock);
	memcpy(data, func->config + off, len);
	pthread_mutex_unlock(&func->bus->lock);
}

bool pci_func_is_master(struct pci_func *func)
{
	uint16_t command;

	pci_func_read_config(func, PCI_COMMAND, &command, sizeof(command));
	return command & PCI_COMMAND_MASTER;
}

static void write_config(struct pci_func *func, unsigned off, const uint8_t *data, unsigned len)
{
	for (unsigned i = 0; i < len; i++) {
		const uint8_t mask = func->writable[off + i];
		uint8_t *byte = &func->config[off + i];

		*byte = (*byte & ~mask) | (data[i] & mask);
	}
}

void pci_config_read(struct pci_bus *pci, unsigned devfn, unsigned off, void *data, unsigned len)
{
	struct pci_func *func = find_config(pci, devfn, off, len);

	if (!func) {
		memset(data, 0xff, len);
		return;
	}
	if (is_window(func, off))
		func->ops->window_read(func, off - func->window, data, len);
	else
		pci_func_read_config(func, off, data, len);
	leave(pci, func);
}

static void write_registers(struct pci_bus *pci, struct pci_func *func, unsigned off,
			    const void *data, unsigned len)
{
	uint16_t before, after;

	pthread_mutex_lock(&pci->lock);
	before = pci_get16(func->config, PCI_COMMAND);
	write_config(func, off, data, len);
	after = pci_get16(func->config, PCI_COMMAND);
	if (off / 4 == PCI_COMMAND / 4 || off / 4 == PCI_BASE_ADDRESS_0 / 4)
		update_bar(pci, func);
	if (func->ops && func->ops->config_written)
		func->ops->config_written(func, off, len);
	pthread_mutex_unlock(&pci->lock);
	/* May take as long as storage takes: the other functions go on meanwhile. */
	if ((before ^ after) & PCI_COMMAND_MASTER && func->ops && func->ops->master_switched)
		func->ops->master_switched(func);
}

void pci_config_write(struct pci_bus *pci, unsigned devfn, unsigned off, const void *data,
		      unsigned len)
{
	struct pci_func *func = find_config(pci, devfn, off, len);

	if (!func)
		return;
	if (is_window(func, off))
		func->ops->window_write(func, off - func->window, data, len);
	else
		write_registers(pci, func, off, data, len);
	leave(pci, func);
}

/* ---- set-up ---------------------------------------------------------------------------------- */

int pci_bus_init(struct pci_bus *pci, struct bus *mmio, gpa_t window, uint64_t window_size,
		 struct error *err)
{
	int ret;

	memset(pci, 0, sizeof(*pci));
	pci->window = window;
	pci->window_size = window_size;
	pci->left_fd = -1;
	pci_func_init(&pci->bridge, BRIDGE_VENDOR, BRIDGE_DEVICE, BRIDGE_CLASS, 0, 0);
	pci->bridge.bus = pci;
	pci->bridge.shown = true;
	pci->slot[0] = &pci->bridge;
	ret = bus_add(mmio, "PCI window", window, window_size, &window_ops, pci, err);
	if (!ret)
		pthread_mutex_init(&pci->lock, NULL);
	return ret;
}

void pci_bus_destroy(struct pci_bus *pci)
{
	pthread_mutex_destroy(&pci->lock);
}

/* Where a BAR is, or is told to be, or has its doorbells. */
static bool is_taken(const struct pci_bus *pci, gpa_t addr, uint64_t len)
{
	for (unsigned i = 0; i < PCI_SLOTS; i++) {
		const struct pci_func *func = pci->slot[i];

		if (!func || !func->bar_size)
			continue;
		if (ranges_overlap(pci_get32(func->config, PCI_BASE_ADDRESS_0), func->bar_size,
				   addr, len) ||
		    (func->bar_claimed &&
		     ranges_overlap(func->bar_addr, func->bar_size, addr, len)))
			return true;
	}
	return false;
}

/* The first place that is free: what a removed function had is used again. */
static int preset_bar(struct pci_bus *pci, struct pci_func *func, struct error *err)
{
	const uint64_t size = func->bar_size;
	gpa_t addr = (pci->window + size - 1) & ~(size - 1);

	while (in_window(pci, addr, size) && is_taken(pci, addr, size))
		addr += size;
	if (!in_window(pci, addr, size))
		return error_setx(err, ENOSPC, "no room for one more BAR in the PCI window");
	pci_put32(func->config, PCI_BASE_ADDRESS_0, addr);
	pci_put32(func->writable, PCI_BASE_ADDRESS_0, -func->bar_size); /* what makes sizing work */
	return 0;
}

static int place(struct pci_bus *pci, struct pci_func *func, struct error *err)
{
	unsigned slot = 0;
	int ret;

	while (slot < PCI_SLOTS && (pci->slot[slot] || pci->reserved & 1u << slot))
		slot++;
	if (slot == PCI_SLOTS)
		return error_setx(err, ENOSPC, "PCI bus 0 is full: no free slot of %u",
				  PCI_SLOTS - 1);
	ret = func->bar_size ? preset_bar(pci, func, err) : 0;
	if (ret)
		return ret;
	func->bus = pci;
	func->slot = slot;
	pci->slot[slot] = func;
	return slot;
}

int pci_bus_add(struct pci_bus *pci, struct pci_func *func, struct error *err)
{
	int ret;

	pthread_mutex_lock(&pci->lock);
	ret = place(pci, func, err);
	pthread_mutex_unlock(&pci->lock);
	return ret;
}

void pci_func_show(struct pci_func *func)
{
	pthread_mutex_lock(&func->bus->lock);
	func->shown = true;
	pthread_mutex_unlock(&func->bus->lock);
}

static void hide(struct pci_bus *pci, struct pci_func *func)
{
	func->shown = func->bar_mapped = false;
	if (func->bar_size)
		hand_over(pci, func);
}

void pci_func_hide(struct pci_func *func)
{
	pthread_mutex_lock(&func->bus->lock);
	hide(func->bus, func);
	pthread_mutex_unlock(&func->bus->lock);
}

bool pci_func_is_shown(struct pci_func *func)
{
	bool shown;

	pthread_mutex_lock(&func->bus->lock);
	shown = func->shown;
	pthread_mutex_unlock(&func->bus->lock);
	return shown;
}

void pci_func_ask(struct pci_func *func)
{
	pthread_mutex_lock(&func->bus->lock);
	func->asked = true;
	pthread_mutex_unlock(&func->bus->lock);
}

static bool eject(struct pci_bus *pci, struct pci_func *func)
{
	if (!func || !func->shown || !func->asked)
		return false;
	hide(pci, func);
	return true;
}

bool pci_bus_eject(struct pci_bus *pci, uint32_t slots)
{
	bool given = false;

	pthread_mutex_lock(&pci->lock);
	pci->reserved &= ~slots;
	for (; slots; slots &= slots - 1)
		given |= eject(pci, pci->slot[__builtin_ctz(slots)]);
	pthread_mutex_unlock(&pci->lock);
	return given;
}

bool pci_func_surprise(struct pci_func *func)
{
	struct pci_bus *pci = func->bus;
	bool shown;

	pthread_mutex_lock(&pci->lock);
	shown = func->shown;
	if (shown) {
		hide(pci, func);
		pci->reserved |= 1u << func->slot;
	}
	pthread_mutex_unlock(&pci->lock);
	return shown;
}

int pci_bus_remove(struct pci_func *func)
{
	struct pci_bus *pci = func->bus;
	int ret = -EBUSY;

	pthread_mutex_lock(&pci->lock);
	if (!func->shown && !func->users) {
		release_bar(func);
		pci->slot[func->slot] = NULL;
		ret = 0;
	}
	pthread_mutex_unlock(&pci->lock);
	return ret;
}

bool pci_func_is_quiet(struct pci_func *func)
{
	bool quiet;

	pthread_mutex_lock(&func->bus->lock);
	quiet = !func->shown && !func->users;
	pthread_mutex_unlock(&func->bus->lock);
	return quiet;
}
