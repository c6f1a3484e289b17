/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Time by the structure KVM keeps for its guests (Documentation/virt/kvm/x86/msr.rst, kvm-clock):
 * nanoseconds = base + ((tsc - tsc_base) << shift) * mul >> 32, retried while the version is odd or
 * changes.
 */
#include "guest/io.h"
#include "guest/irq.h"
#include "guest/lib.h"

#define MSR_KVM_SYSTEM_TIME_NEW 0x4b564d01
#define GUESSED_TSC_KHZ		3000000

struct pvclock {
	uint32_t version, pad;
	uint64_t tsc_base, base;
	uint32_t mul;
	int8_t shift;
	uint8_t flags, pad2[2];
};

static volatile struct pvclock clock __attribute__((aligned(64)));
static bool have_clock;
static uint64_t tsc_khz;

static void find_clock(void)
{
	struct cpuid features;

	cpu_id(0x40000001, 0, &features);
	if (!cpu_is_kvm() || !(features.eax & 1 << 3))
		return;
	cpu_wrmsr(MSR_KVM_SYSTEM_TIME_NEW, (uintptr_t)&clock | 1);
	have_clock = clock.mul != 0;
}

void time_init(void)
{
	find_clock();
	tsc_khz = option_u64("tsc_khz", GUESSED_TSC_KHZ);
	if (!have_clock)
		return;
	tsc_khz = (1000000ULL << 32) / clock.mul;
	tsc_khz = clock.shift < 0 ? tsc_khz << -clock.shift : tsc_khz >> clock.shift;
}

uint64_t ticks_to_ns(uint64_t ticks)
{
	return ticks * 1000000 / tsc_khz;
}

uint64_t ns_to_ticks(uint64_t ns)
{
	return ns / 1000 * tsc_khz / 1000;
}

static uint64_t scale(uint64_t ticks, uint32_t mul, int8_t shift)
{
	ticks = shift < 0 ? ticks >> -shift : ticks << shift;
	return ((unsigned __int128)ticks * mul) >> 32;
}

uint64_t time_us(void)
{
	uint32_t version;
	uint64_t ns;

	if (!have_clock)
		return rdtsc() * 1000 / tsc_khz;
	do {
		version = clock.version;
		ns = clock.base + scale(rdtsc() - clock.tsc_base, clock.mul, clock.shift);
	} while ((version & 1) || version != clock.version);
	return ns / 1000;
}

void delay_us(uint64_t us)
{
	uint64_t until = time_us() + us;

	while (time_us() < until)
		cpu_relax();
}
