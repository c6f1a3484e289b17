/* SPDX-License-Identifier: Apache-2.0 */
/* A bzImage that nothing is wrong with; tests break one thing at a time. */
#ifndef MVMM_TESTS_BZIMAGE_FAKE_H
#define MVMM_TESTS_BZIMAGE_FAKE_H

#include <asm/bootparam.h>
#include <stdint.h>
#include <string.h>

#define FAKE_SETUP   (5 * 512) /* setup_sects 4 and the boot sector */
#define FAKE_PAYLOAD 8192
#define FAKE_PREF    0x1000000
#define FAKE_INIT    0x400000

struct fake_bzimage {
	uint8_t bytes[FAKE_SETUP + FAKE_PAYLOAD];
};

static inline struct setup_header *fake_header(struct fake_bzimage *bz)
{
	return (struct setup_header *)(bz->bytes + 0x1f1);
}

static inline void fake_bzimage_init(struct fake_bzimage *bz)
{
	unsigned i;

	for (i = 0; i < sizeof(bz->bytes); i++)
		bz->bytes[i] = 0xa0 + i % 61;
	memset(bz->bytes + 0x1f1, 0, 0x300 - 0x1f1);
	*fake_header(bz) = (struct setup_header){
		.setup_sects = 4,
		.syssize = FAKE_PAYLOAD / 16,
		.boot_flag = 0xaa55,
		.jump = 0x6aeb, /* the header ends at 0x202 + 0x6a */
		.header = 0x53726448,
		.version = 0x020f,
		.loadflags = LOADED_HIGH,
		.code32_start = 0x100000,
		.initrd_addr_max = 0x7fffffff,
		.kernel_alignment = 0x200000,
		.relocatable_kernel = 1,
		.min_alignment = 21,
		.xloadflags = XLF_KERNEL_64,
		.cmdline_size = 2047,
		.pref_address = FAKE_PREF,
		.init_size = FAKE_INIT,
	};
}

#endif
