/* SPDX-License-Identifier: Apache-2.0 */
/* Further CPUs: started once, then given one function at a time to run in ring 3. */
#ifndef GUEST_SMP_H
#define GUEST_SMP_H

#include <stdbool.h>
#include <stdint.h>

/* INIT and SIPI to `apic_id`; false if it does not answer in that time. CPU n is the nth started.
 */
bool smp_start(uint32_t apic_id, uint64_t wait_us);
unsigned smp_count(void); /* the first one included */
uint32_t smp_apic_id(unsigned cpu);

/* Has `fn(arg)` called on CPU `cpu`, which must not be busy. Memory it needs is allocated before.
 */
void smp_run(unsigned cpu, void (*fn)(void *arg), void *arg);
void smp_wait(unsigned cpu);

#endif
