/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The folders in which the broker opens files (--allow). A path is found in a folder by its text, and
 * followed from there by the kernel, which lets it nowhere else: neither "..", nor a symbolic link,
 * nor one of /proc (openat2(2), RESOLVE_BENEATH). Main, then the broker.
 */
#ifndef MVMM_CLI_ALLOW_H
#define MVMM_CLI_ALLOW_H

#include <sys/types.h>

#include "vmm/error.h"

#define ALLOW_MAX 32

struct allowed_dir {
	int fd;	    /* O_PATH */
	char *text; /* absolute, as it was given */
	char *real; /* without symbolic links */
};

struct allow {
	char *cwd;
	struct allowed_dir dir[ALLOW_MAX];
	unsigned n;
};

/* None yet; paths that are not absolute begin at the working directory of now. 0 or -errno. */
int allow_init(struct allow *allow, struct error *err);
void allow_free(struct allow *allow);

/* One more; one that is there already changes nothing. -errno with a message. */
int allow_add(struct allow *allow, const char *dir, struct error *err);

/* The folder of a file. */
int allow_add_folder_of(struct allow *allow, const char *file, struct error *err);

/* As blk_opener (virtio/blk/opener.h) has it; -EXDEV: it is in none of the folders. */
int allow_open(const struct allow *allow, const char *path, int flags, mode_t *kind);

#endif
