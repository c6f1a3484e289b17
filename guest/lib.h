/* SPDX-License-Identifier: Apache-2.0 */
/* What freestanding C lacks: strings, memory, the serial console, test lines, options, time. */
#ifndef GUEST_LIB_H
#define GUEST_LIB_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define PAGE_SIZE     4096UL

/* string.c; the compiler calls some of them by itself. */
void *memcpy(void *to, const void *from, size_t n);
void *memset(void *to, int byte, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t n);
uint64_t parse_u64(const char *s, const char **end); /* decimal, or hexadecimal after 0x */
uint64_t random_u64(uint64_t *state);

/* serial.c: %s %c %u %d %x and their l forms (64 bits), with a width and a leading 0. */
void serial_init(void);
__attribute__((format(printf, 1, 2))) void print(const char *format, ...);
void vprint(const char *format, va_list args);

/* tap.c: one line per check; `tap_end` prints the plan and returns the number of failures. */
__attribute__((format(printf, 2, 3))) bool ok(bool good, const char *format, ...);
__attribute__((format(printf, 1, 2))) void note(const char *format, ...);
__attribute__((format(printf, 1, 2))) void skip(const char *format, ...);
unsigned tap_end(void);

/* boot.c: what the boot protocol told. */
struct boot_info {
	const char *cmdline;
	const char *protocol; /* "pvh" or "linux64" */
	uint64_t rsdp;
	uint64_t ram_size; /* bytes, all usable ranges */
	uint64_t ram_end;  /* of the highest range below 4 GiB */
};

extern struct boot_info boot;
void boot_init(void);
/* Value of the nth `key=value` on the command line, ended by a blank; NULL: there is none. */
const char *option(const char *key, unsigned nth);
uint64_t option_u64(const char *key, uint64_t otherwise);
bool option_is(const char *key, const char *value);

/* Zeroed pages, never given back; out of memory ends the guest. */
void *alloc_pages(size_t bytes);

/* time.c: by kvm-clock or, where there is none, by the TSC at `tsc_khz=` on the command line (or a
 * guess). Ticks are the TSC's. */
void time_init(void);
uint64_t time_us(void);
/* What has not come by then never comes. No bound on speed: hosts are busy, or emulated. */
#define PATIENCE_US 60000000
/* What has not come by then never comes: no bound on how fast a busy or emulated host is. */
#define PATIENCE_US 60000000
void delay_us(uint64_t us);
uint64_t ticks_to_ns(uint64_t ticks); /* up to hours of them */
uint64_t ns_to_ticks(uint64_t ns);

#endif
