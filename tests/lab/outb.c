/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outb PORT VALUE: writes one byte to an I/O port, as root, from a test machine's init. Debian's
 * cloud kernel has no /dev/port, so this is how a guest reaches isa-debug-exit. Linked statically.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: outb PORT VALUE\n");
		return 2;
	}
	if (iopl(3) < 0) {
		fprintf(stderr, "outb: iopl: %s\n", strerror(errno));
		return 1;
	}
	outb((unsigned char)strtoul(argv[2], NULL, 0), (unsigned short)strtoul(argv[1], NULL, 0));
	return 0;
}
