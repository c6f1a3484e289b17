/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A writer for ACPI tables and ACPI Machine Language (ACPI 6.5, chapter 20): just the terms our
 * tables need. Bytes are appended; a term that carries its length is opened and closed:
 *
 *	dev = aml_device(aml, "COM1");
 *	aml_name_eisa_id(aml, "_HID", "PNP0501");
 *	crs = aml_crs(aml);
 *	aml_io(aml, 0x3f8, 8);
 *	aml_crs_end(aml, crs);
 *	aml_end(aml, dev);
 *
 * A full buffer sets `full` and drops what follows; the caller looks once, at the end. Main only.
 */
#ifndef MVMM_LOADER_AML_H
#define MVMM_LOADER_AML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct aml {
	uint8_t *buf; /* borrowed */
	size_t len;
	size_t cap;
	bool full;
};

void aml_bytes(struct aml *aml, const void *data, size_t len);
void aml_u8(struct aml *aml, uint8_t v);

/* Data: an integer in its shortest form (20.2.3), and a name as ASL writes it ("\\_SB.PWRB"). */
void aml_int(struct aml *aml, uint64_t v);
void aml_path(struct aml *aml, const char *path);

/* Name (name, value). Names are four characters, "_HID"; EISA ids are three letters, four digits.
 */
void aml_name_int(struct aml *aml, const char *name, uint64_t v);
void aml_name_string(struct aml *aml, const char *name, const char *s);
void aml_name_eisa_id(struct aml *aml, const char *name, const char *id);

/* Terms with a body; each returns the mark that aml_end() wants. */
size_t aml_scope(struct aml *aml, const char *path);
size_t aml_device(struct aml *aml, const char *name);
size_t aml_method(struct aml *aml, const char *name, unsigned nargs); /* serialized */
size_t aml_name_package(struct aml *aml, const char *name, uint8_t count);
size_t aml_if_bit(struct aml *aml, uint64_t mask); /* If (Local0 & mask) */
void aml_end(struct aml *aml, size_t mark);

/* Statements of our methods. */
void aml_port_u32(struct aml *aml, const char *region, const char *field, uint16_t port);
void aml_load_local0(struct aml *aml, const char *field);	/* Local0 = field */
void aml_store(struct aml *aml, uint64_t v, const char *field); /* field = v */
void aml_notify(struct aml *aml, const char *path, uint8_t value);

/* Name (_CRS, ResourceTemplate () { ... }), 6.4. */
size_t aml_crs(struct aml *aml);
void aml_crs_end(struct aml *aml, size_t mark);
void aml_io(struct aml *aml, uint16_t base, uint8_t len);
void aml_memory32(struct aml *aml, uint32_t base, uint32_t len);
void aml_irq_edge(struct aml *aml, uint32_t gsi); /* consumer, active high, exclusive */
/* What a bridge passes on to its bus. */
void aml_window_bus(struct aml *aml, uint8_t first, uint8_t last);
void aml_window_io(struct aml *aml, uint16_t first, uint16_t last);
void aml_window_memory(struct aml *aml, uint32_t base, uint32_t len);

#endif
