/* SPDX-License-Identifier: Apache-2.0 */
/* How a guest ends its machine and says how it went. */
#ifndef GUEST_END_H
#define GUEST_END_H

#include <stdint.h>

#define END_PORT 0xf4 /* QEMU's debug-exit: the exit status is value << 1 | 1 */
#define END_GOOD 0x10
#define END_TRAP 0x7d
#define END_DEAD 0x7e

_Noreturn void end_now(uint8_t value);

/* Something the guest cannot go on without: a "Bail out!" line, END_DEAD. */
_Noreturn void end_abort(const char *why);

/* HLT with interrupts off. */
_Noreturn void end_halted(void);

#endif
