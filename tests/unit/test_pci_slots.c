/* SPDX-License-Identifier: Apache-2.0 */
/* Functions that come and go on the PCI bus while vCPUs use it. H27: BARs that move meanwhile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vmm/bus.h"
#include "vmm/pci.h"
#include "vmm/pci_config.h"

#define ECAM	    0xe0000000ULL
#define WINDOW	    0xc0000000ULL
#define WINDOW_SIZE 0x100000ULL
#define BAR_SIZE    0x8000u
#define ABSENT	    0xffffffffu
#define MAGIC	    0x5a
#define NVCPUS	    2
#define ROUNDS	    3000

struct thing {
	struct pci_func func;
	_Atomic unsigned alive; /* 1 until it is no more: an access after that is a bug */
	_Atomic unsigned inside;
	gpa_t doorbells; /* 0: nowhere */
	struct rig *rig;
	bool slow; /* an access waits for `go` */
};

struct rig {
	struct bus mmio;
	struct pci_bus pci;
	_Atomic bool stop, go, bad;
};

static void use(struct thing *thing)
{
	thing->inside++;
	if (!thing->alive)
		thing->rig->bad = true;
	while (thing->slow && !thing->rig->go)
		sched_yield();
	if (!thing->alive)
		thing->rig->bad = true;
	thing->inside--;
}

static void thing_read(struct pci_func *func, uint64_t off, void *data, unsigned len)
{
	use(func->opaque);
	memset(data, MAGIC, len);
}

static void thing_write(struct pci_func *func, uint64_t off, const void *data, unsigned len)
{
	use(func->opaque);
}

static void thing_moved(struct pci_func *func, gpa_t addr, bool claimed)
{
	struct thing *thing = func->opaque;

	thing->doorbells = claimed ? addr : 0;
}

static void thing_switched(struct pci_func *func)
{
	use(func->opaque);
}

static const struct pci_func_ops thing_ops = {
	.bar_read = thing_read,
	.bar_write = thing_write,
	.bar_moved = thing_moved,
	.master_switched = thing_switched,
};

static struct thing *thing_new(struct rig *rig)
{
	struct thing *thing = calloc(1, sizeof(*thing));

	assert_non_null(thing);
	pci_func_init(&thing->func, 0x1af4, 0x1042, 0x018000, 1, 0x40);
	thing->func.bar_size = BAR_SIZE;
	thing->func.ops = &thing_ops;
	thing->func.opaque = thing;
	thing->rig = rig;
	thing->alive = 1;
	return thing;
}

static struct thing *thing_in(struct rig *rig, unsigned slot)
{
	struct thing *thing = thing_new(rig);

	assert_int_equal(pci_bus_add(&rig->pci, &thing->func, NULL), slot);
	pci_func_show(&thing->func);
	return thing;
}

static struct rig *rig_new(void)
{
	struct rig *rig = calloc(1, sizeof(*rig));

	assert_non_null(rig);
	assert_int_equal(pci_bus_init(&rig->pci, &rig->mmio, WINDOW, WINDOW_SIZE, NULL), 0);
	assert_int_equal(pci_config_init(&rig->pci, NULL, &rig->mmio, ECAM, NULL), 0);
	rig->pci.left_fd = eventfd(0, EFD_NONBLOCK);
	return rig;
}

static void rig_free(struct rig *rig)
{
	close(rig->pci.left_fd);
	pci_bus_destroy(&rig->pci);
	free(rig);
}

static uint32_t config(struct rig *rig, unsigned slot, unsigned reg)
{
	uint32_t value = 0;

	bus_read(&rig->mmio, ECAM + (slot << 15) + reg, &value, 4);
	return value;
}

static void configure(struct rig *rig, unsigned slot, unsigned reg, uint32_t value, unsigned len)
{
	bus_write(&rig->mmio, ECAM + (slot << 15) + reg, &value, len);
}

static void decode_at(struct rig *rig, unsigned slot, uint32_t addr)
{
	configure(rig, slot, PCI_COMMAND, 0, 2);
	configure(rig, slot, PCI_BASE_ADDRESS_0, addr, 4);
	configure(rig, slot, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
}

static uint8_t peek(struct rig *rig, uint64_t addr)
{
	uint8_t byte = 0;

	bus_read(&rig->mmio, addr, &byte, 1);
	return byte;
}

static bool left(struct rig *rig)
{
	uint64_t count;

	return read(rig->pci.left_fd, &count, sizeof(count)) == sizeof(count);
}

static void take_out(struct thing *thing)
{
	pci_func_hide(&thing->func);
	assert_int_equal(pci_bus_remove(&thing->func), 0);
	free(thing);
}

/* ---- what the guest sees --------------------------------------------------------------------- */

static void what_is_not_shown_is_not_there(void **state)
{
	struct rig *rig = rig_new();
	struct thing *thing = thing_new(rig);

	assert_int_equal(pci_bus_add(&rig->pci, &thing->func, NULL), 1);
	assert_int_equal(config(rig, 1, PCI_VENDOR_ID), ABSENT);
	decode_at(rig, 1, WINDOW);
	assert_int_equal(peek(rig, WINDOW), 0xff);
	assert_int_equal(thing->doorbells, 0);
	pci_func_show(&thing->func);
	assert_int_equal(config(rig, 1, PCI_VENDOR_ID), 0x10421af4);
	decode_at(rig, 1, WINDOW);
	assert_int_equal(peek(rig, WINDOW), MAGIC);
	take_out(thing);
	rig_free(rig);
}

static void what_is_hidden_is_gone_but_for_its_doorbells(void **state)
{
	struct rig *rig = rig_new();
	struct thing *thing = thing_in(rig, 1);

	decode_at(rig, 1, WINDOW);
	pci_func_hide(&thing->func);
	assert_int_equal(config(rig, 1, PCI_VENDOR_ID), ABSENT);
	assert_int_equal(peek(rig, WINDOW), 0xff);
	configure(rig, 1, PCI_BASE_ADDRESS_0, WINDOW + BAR_SIZE, 4);
	assert_int_equal(thing->doorbells, WINDOW);
	assert_true(pci_func_is_quiet(&thing->func));
	assert_int_equal(pci_bus_remove(&thing->func), 0);
	assert_int_equal(thing->doorbells, 0);
	free(thing);
	rig_free(rig);
}

static void what_is_shown_cannot_be_removed(void **state)
{
	struct rig *rig = rig_new();
	struct thing *thing = thing_in(rig, 1);

	assert_int_equal(pci_bus_remove(&thing->func), -EBUSY);
	assert_false(pci_func_is_quiet(&thing->func));
	assert_int_equal(config(rig, 1, PCI_VENDOR_ID), 0x10421af4);
	take_out(thing);
	rig_free(rig);
}

static void a_hidden_functions_doorbells_give_way(void **state)
{
	struct rig *rig = rig_new();
	struct thing *old = thing_in(rig, 1), *new = thing_in(rig, 2);

	decode_at(rig, 1, WINDOW);
	pci_func_hide(&old->func);
	decode_at(rig, 2, WINDOW);
	assert_int_equal(old->doorbells, 0);
	assert_int_equal(new->doorbells, WINDOW);
	assert_int_equal(pci_bus_remove(&old->func), 0);
	assert_int_equal(new->doorbells, WINDOW);
	free(old);
	take_out(new);
	rig_free(rig);
}

/* Both decode, KVM kept the first's doorbells: hidden, it leaves them to the second. */
static void a_hidden_function_hands_its_doorbells_over(void **state)
{
	struct rig *rig = rig_new();
	struct thing *first = thing_in(rig, 1), *second = thing_in(rig, 2);

	decode_at(rig, 1, WINDOW);
	decode_at(rig, 2, WINDOW);
	pci_func_hide(&first->func);
	assert_int_equal(first->doorbells, 0);
	assert_int_equal(second->doorbells, WINDOW);
	assert_int_equal(pci_bus_remove(&first->func), 0);
	free(first);
	take_out(second);
	rig_free(rig);
}

/* ---- slots and space ------------------------------------------------------------------------- */

static void slot_and_space_are_used_again(void **state)
{
	struct rig *rig = rig_new();
	struct thing *first = thing_in(rig, 1), *second = thing_in(rig, 2);
	const uint32_t bar = config(rig, 1, PCI_BASE_ADDRESS_0);

	for (unsigned i = 0; i < 4 * WINDOW_SIZE / BAR_SIZE; i++) {
		take_out(first);
		first = thing_in(rig, 1);
		assert_int_equal(config(rig, 1, PCI_BASE_ADDRESS_0), bar);
	}
	take_out(first);
	take_out(second);
	rig_free(rig);
}

static void a_preset_bar_avoids_where_the_guest_put_others(void **state)
{
	struct rig *rig = rig_new();
	struct thing *moved = thing_in(rig, 1), *next;

	configure(rig, 1, PCI_BASE_ADDRESS_0, WINDOW + 2 * BAR_SIZE, 4);
	next = thing_in(rig, 2);
	assert_int_equal(config(rig, 2, PCI_BASE_ADDRESS_0), WINDOW);
	take_out(next);
	decode_at(rig, 1, WINDOW); /* its doorbells stay there when it does not decode */
	configure(rig, 1, PCI_COMMAND, 0, 2);
	configure(rig, 1, PCI_BASE_ADDRESS_0, WINDOW + BAR_SIZE, 4);
	next = thing_in(rig, 2);
	assert_int_equal(config(rig, 2, PCI_BASE_ADDRESS_0), WINDOW + 2 * BAR_SIZE);
	take_out(next);
	take_out(moved);
	rig_free(rig);
}

static void a_slot_taken_by_surprise_stays_empty_until_it_is_ejected(void **state)
{
	struct rig *rig = rig_new();
	struct thing *thing = thing_in(rig, 1);

	assert_true(pci_func_is_shown(&thing->func));
	assert_true(pci_func_surprise(&thing->func));
	assert_false(pci_func_is_shown(&thing->func));
	assert_false(pci_func_surprise(&thing->func));
	assert_int_equal(config(rig, 1, PCI_VENDOR_ID), ABSENT);
	assert_int_equal(pci_bus_remove(&thing->func), 0);
	free(thing);
	thing = thing_in(rig, 2);
	take_out(thing);
	pci_bus_eject(&rig->pci, 1u << 1);
	thing = thing_in(rig, 1);
	take_out(thing);
	rig_free(rig);
}

static void an_ejected_slot_is_hidden_and_free(void **state)
{
	struct rig *rig = rig_new();
	struct thing *thing = thing_in(rig, 1);

	pci_func_ask(&thing->func);
	assert_true(pci_bus_eject(&rig->pci, 1u << 1));
	assert_false(pci_bus_eject(&rig->pci, 1u << 1));
	assert_false(pci_bus_eject(&rig->pci, 1u << 17)); /* nothing there */
	assert_true(pci_func_is_quiet(&thing->func));
	assert_false(pci_func_surprise(&thing->func));
	assert_int_equal(pci_bus_remove(&thing->func), 0);
	free(thing);
	thing = thing_in(rig, 1);
	take_out(thing);
	rig_free(rig);
}

static void only_those_of_many_that_were_asked_for_go(void **state)
{
	struct rig *rig = rig_new();
	struct thing *thing[3];

	for (unsigned i = 0; i < 3; i++)
		thing[i] = thing_in(rig, 1 + i);
	pci_func_ask(&thing[0]->func);
	pci_func_ask(&thing[2]->func);
	assert_true(pci_bus_eject(&rig->pci, ~0u));
	assert_true(pci_func_is_quiet(&thing[0]->func));
	assert_true(pci_func_is_shown(&thing[1]->func));
	assert_true(pci_func_is_quiet(&thing[2]->func));
	for (unsigned i = 0; i < 3; i++)
		take_out(thing[i]);
	rig_free(rig);
}

static void what_was_not_asked_for_stays(void **state)
{
	struct rig *rig = rig_new();
	struct thing *thing = thing_in(rig, 1);

	assert_false(pci_bus_eject(&rig->pci, ~0u));
	assert_int_equal(config(rig, 1, PCI_VENDOR_ID), 0x10421af4);
	assert_int_not_equal(config(rig, 0, PCI_VENDOR_ID), ABSENT);
	take_out(thing);
	rig_free(rig);
}

/* A vCPU may say twice that it gives a slot up, and the second word come as late as this. */
static void a_late_eject_does_not_take_the_slots_next_function(void **state)
{
	struct rig *rig = rig_new();
	struct thing *thing = thing_in(rig, 1);

	pci_func_ask(&thing->func);
	assert_true(pci_bus_eject(&rig->pci, 1u << 1));
	assert_int_equal(pci_bus_remove(&thing->func), 0);
	free(thing);
	thing = thing_in(rig, 1);
	assert_false(pci_bus_eject(&rig->pci, 1u << 1));
	assert_true(pci_func_is_shown(&thing->func));
	take_out(thing);
	rig_free(rig);
}

/* ---- vCPUs ----------------------------------------------------------------------------------- */

static void *read_slowly(void *opaque)
{
	peek(opaque, WINDOW);
	return NULL;
}

static void *switch_slowly(void *opaque)
{
	configure(opaque, 1, PCI_COMMAND, PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY, 2);
	return NULL;
}

static void assert_waited_for(void *(*access)(void *))
{
	struct rig *rig = rig_new();
	struct thing *thing = thing_in(rig, 1);
	pthread_t vcpu;

	decode_at(rig, 1, WINDOW);
	thing->slow = true;
	assert_int_equal(pthread_create(&vcpu, NULL, access, rig), 0);
	while (!thing->inside)
		sched_yield();
	pci_func_hide(&thing->func);
	assert_false(pci_func_is_quiet(&thing->func));
	assert_int_equal(pci_bus_remove(&thing->func), -EBUSY);
	assert_false(left(rig));
	rig->go = true;
	pthread_join(vcpu, NULL);
	assert_true(left(rig));
	assert_true(pci_func_is_quiet(&thing->func));
	assert_int_equal(pci_bus_remove(&thing->func), 0);
	free(thing);
	rig_free(rig);
}

static void a_vcpu_inside_the_bar_is_waited_for(void **state)
{
	assert_waited_for(read_slowly);
}

static void a_vcpu_that_switches_bus_mastering_is_waited_for(void **state)
{
	assert_waited_for(switch_slowly);
}

static void *vcpu_main(void *opaque)
{
	static _Atomic unsigned seeds = 1;
	struct rig *rig = opaque;
	unsigned seed = seeds++;

	while (!rig->stop) {
		const unsigned slot = 1 + rand_r(&seed) % 3;
		const uint32_t addr = WINDOW + BAR_SIZE * (rand_r(&seed) % 4);

		switch (rand_r(&seed) % 6) {
		case 0:
			decode_at(rig, slot, addr);
			break;
		case 1:
			configure(rig, slot, PCI_COMMAND, rand_r(&seed), 2);
			break;
		case 2:
			pci_bus_eject(&rig->pci, 1u << slot);
			break;
		case 3:
			bus_write(&rig->mmio, addr, &slot, 4);
			break;
		default:
			peek(rig, addr);
		}
	}
	return NULL;
}

/* As main does it: ask, hide, wait, remove; nothing may be in an access by then. Whatever vCPUs eject,
 * until it is asked for it stays. */
static void turn_over(struct rig *rig, struct thing *thing)
{
	if (!pci_func_is_shown(&thing->func))
		rig->bad = true;
	pci_func_ask(&thing->func);
	if (!pci_func_surprise(&thing->func))
		pci_func_hide(&thing->func);
	while (!pci_func_is_quiet(&thing->func))
		sched_yield();
	if (pci_bus_remove(&thing->func) || thing->inside || thing->doorbells)
		rig->bad = true;
	thing->alive = 0;
	pci_bus_eject(&rig->pci, 1u << thing->func.slot);
	free(thing);
}

static void functions_come_and_go_under_vcpus(void **state)
{
	struct rig *rig = rig_new();
	struct thing *thing[3];
	pthread_t vcpu[NVCPUS];

	for (unsigned i = 0; i < 3; i++)
		thing[i] = thing_in(rig, 1 + i);
	for (unsigned i = 0; i < NVCPUS; i++)
		assert_int_equal(pthread_create(&vcpu[i], NULL, vcpu_main, rig), 0);
	for (unsigned i = 0; i < ROUNDS && !rig->bad; i++) {
		turn_over(rig, thing[i % 3]);
		thing[i % 3] = thing_in(rig, 1 + i % 3);
	}
	rig->stop = true;
	for (unsigned i = 0; i < NVCPUS; i++)
		pthread_join(vcpu[i], NULL);
	assert_false(rig->bad);
	for (unsigned i = 0; i < 3; i++)
		turn_over(rig, thing[i]);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_not_shown_is_not_there),
		cmocka_unit_test(what_is_hidden_is_gone_but_for_its_doorbells),
		cmocka_unit_test(what_is_shown_cannot_be_removed),
		cmocka_unit_test(a_hidden_functions_doorbells_give_way),
		cmocka_unit_test(a_hidden_function_hands_its_doorbells_over),
		cmocka_unit_test(slot_and_space_are_used_again),
		cmocka_unit_test(a_preset_bar_avoids_where_the_guest_put_others),
		cmocka_unit_test(a_slot_taken_by_surprise_stays_empty_until_it_is_ejected),
		cmocka_unit_test(an_ejected_slot_is_hidden_and_free),
		cmocka_unit_test(only_those_of_many_that_were_asked_for_go),
		cmocka_unit_test(what_was_not_asked_for_stays),
		cmocka_unit_test(a_late_eject_does_not_take_the_slots_next_function),
		cmocka_unit_test(a_vcpu_inside_the_bar_is_waited_for),
		cmocka_unit_test(a_vcpu_that_switches_bus_mastering_is_waited_for),
		cmocka_unit_test(functions_come_and_go_under_vcpus),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
