/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The clock half of the PC's CMOS (Motorola MC146818A data sheet), read-only.
 *
 * vCPU threads; the index is one atomic byte. Every read takes the host's time anew, in UTC, binary
 * coded decimal, 24 hours. No update is ever in progress, so that no kernel waits for one; a minute
 * that ends between two reads is what drivers guard against by reading twice. ACPI kernels are told
 * that there is no such clock (FADT), and take kvm-clock's. Must not know time zones or alarms.
 */
#include "devices/legacy.h"

#include "vmm/x86/layout.h"

#define CMOS_PORTS	2
#define CMOS_INDEX_BITS 0x7f /* bit 7 masks NMIs */

#define CMOS_SECONDS 0x00
#define CMOS_MINUTES 0x02
#define CMOS_HOURS   0x04
#define CMOS_WEEKDAY 0x06 /* 1 is Sunday */
#define CMOS_DAY     0x07
#define CMOS_MONTH   0x08
#define CMOS_YEAR    0x09
#define CMOS_A	     0x0a
#define CMOS_B	     0x0b
#define CMOS_D	     0x0d
#define CMOS_CENTURY 0x32

#define A_DIVIDER_RATE 0x26 /* 32768 Hz, 1024 Hz: what every PC runs at; UIP (bit 7) clear */
#define B_24_HOURS     0x02 /* DM (bit 2) clear: BCD */
#define D_VALID	       0x80 /* VRT: the battery is good */

static uint8_t bcd(int value)
{
	return value / 10 << 4 | value % 10;
}

/*
 * gmtime_r() reads the host's time zone first, a file that no vCPU's thread may open. Years begin
 * in March here, so that a leap day is a year's last one; 719468 days before 1970 began the year 0,
 * the first of 400 that the calendar repeats.
 */
void cmos_date(time_t now, struct tm *tm)
{
	const unsigned long days = now / 86400, second = now % 86400, all = days + 719468;
	const unsigned long day = all % 146097; /* of 400 years */
	const unsigned long year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
	const unsigned long yday = day - (365 * year + year / 4 - year / 100);
	const unsigned long month = (5 * yday + 2) / 153; /* 0 is March */

	tm->tm_sec = second % 60;
	tm->tm_min = second / 60 % 60;
	tm->tm_hour = second / 3600;
	tm->tm_wday = (days + 4) % 7;
	tm->tm_mday = yday - (153 * month + 2) / 5 + 1;
	tm->tm_mon = (month + 2) % 12;
	tm->tm_year = all / 146097 * 400 + year + (month >= 10) - 1900;
}

static uint8_t read_clock(uint8_t reg)
{
	struct timespec now;
	struct tm tm;

	clock_gettime(CLOCK_REALTIME, &now);
	cmos_date(now.tv_sec < 0 ? 0 : now.tv_sec, &tm);
	switch (reg) {
	case CMOS_SECONDS:
		return bcd(tm.tm_sec);
	case CMOS_MINUTES:
		return bcd(tm.tm_min);
	case CMOS_HOURS:
		return bcd(tm.tm_hour);
	case CMOS_WEEKDAY:
		return bcd(tm.tm_wday + 1);
	case CMOS_DAY:
		return bcd(tm.tm_mday);
	case CMOS_MONTH:
		return bcd(tm.tm_mon + 1);
	case CMOS_YEAR:
		return bcd(tm.tm_year % 100);
	case CMOS_CENTURY:
		return bcd((tm.tm_year + 1900) / 100);
	default: /* alarms, status C, memory: nothing was ever stored */
		return 0;
	}
}

static uint8_t read_register(uint8_t reg)
{
	switch (reg) {
	case CMOS_A:
		return A_DIVIDER_RATE;
	case CMOS_B:
		return B_24_HOURS;
	case CMOS_D:
		return D_VALID;
	default:
		return read_clock(reg);
	}
}

/* The index reads as all-ones, as on a PC. */
static void cmos_read(void *opaque, uint64_t off, void *data, unsigned len)
{
	struct cmos *cmos = opaque;
	uint8_t *byte = data;

	if (off + len == CMOS_PORTS)
		byte[len - 1] = read_register(atomic_load(&cmos->index));
}

static void cmos_write(void *opaque, uint64_t off, const void *data, unsigned len)
{
	struct cmos *cmos = opaque;

	if (off == 0)
		atomic_store(&cmos->index, *(const uint8_t *)data & CMOS_INDEX_BITS);
}

static const struct bus_ops cmos_ops = { .read = cmos_read, .write = cmos_write };

int cmos_init(struct cmos *cmos, struct vm *vm, struct error *err)
{
	atomic_init(&cmos->index, 0);
	return bus_add(&vm->pio, "CMOS", X86_PORT_CMOS, CMOS_PORTS, &cmos_ops, cmos, err);
}
