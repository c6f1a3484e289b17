/* SPDX-License-Identifier: Apache-2.0 */
/* Tells the CPU that we are waiting in a loop: saves power and leaves the core to its sibling. */
#ifndef MVMM_CPU_RELAX_H
#define MVMM_CPU_RELAX_H

static inline void cpu_relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

#endif
