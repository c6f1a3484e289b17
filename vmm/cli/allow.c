/* SPDX-License-Identifier: Apache-2.0 */
/* Folders that may be opened, and what is in them; see allow.h. Must not know who asks. */
#include "vmm/cli/allow.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "virtio/blk/opener.h"

#define RESOLVE (RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS)

/* ---- text ---- */

static bool append(char *to, size_t room, const char *part, size_t len)
{
	const size_t at = strlen(to);

	if (at + 1 + len >= room)
		return false;
	to[at] = '/';
	memcpy(to + at + 1, part, len);
	to[at + 1 + len] = '\0';
	return true;
}

/* Every component of `path` but "." and nothing. Where ".." leads only the kernel knows: it stays. */
static bool append_path(char *to, size_t room, const char *path)
{
	while (*path) {
		const size_t len = strcspn(path, "/");

		if (len && !(len == 1 && path[0] == '.') && !append(to, room, path, len))
			return false;
		path += len + (path[len] == '/');
	}
	return true;
}

/* "" is the root. False: too long. */
static bool make_absolute(char *to, size_t room, const char *cwd, const char *path)
{
	to[0] = '\0';
	if (path[0] != '/' && !append_path(to, room, cwd))
		return false;
	return append_path(to, room, path);
}

/* What follows the folder in `path`, or NULL. */
static const char *rest_of(const char *path, const char *dir)
{
	const size_t len = strlen(dir);

	if (strncmp(path, dir, len) || path[len] != '/')
		return NULL;
	return path + len + 1;
}

/* ---- life ---- */

int allow_init(struct allow *allow, struct error *err)
{
	*allow = (struct allow){ .cwd = getcwd(NULL, 0) };
	return allow->cwd ? 0 : error_set(err, errno, "--allow: working directory");
}

void allow_free(struct allow *allow)
{
	while (allow->n) {
		struct allowed_dir *dir = &allow->dir[--allow->n];

		close(dir->fd);
		free(dir->text);
		free(dir->real);
	}
	free(allow->cwd);
	allow->cwd = NULL;
}

static bool has(const struct allow *allow, const char *text)
{
	for (unsigned i = 0; i < allow->n; i++)
		if (!strcmp(allow->dir[i].text, text))
			return true;
	return false;
}

/* The real path comes with a slash only where it is the root. */
static int open_dir(struct allowed_dir *dir, const char *name, const char *text)
{
	dir->fd = open(name, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir->fd < 0)
		return -errno;
	dir->text = strdup(text);
	dir->real = realpath(name, NULL);
	if (dir->text && dir->real) {
		if (!strcmp(dir->real, "/"))
			dir->real[0] = '\0';
		return 0;
	}
	free(dir->text);
	free(dir->real);
	close(dir->fd);
	return -ENOMEM;
}

int allow_add(struct allow *allow, const char *name, struct error *err)
{
	char text[PATH_MAX];
	int ret;

	if (!make_absolute(text, sizeof(text), allow->cwd, name))
		return error_set(err, ENAMETOOLONG, "--allow '%s'", name);
	if (has(allow, text))
		return 0;
	if (allow->n == ALLOW_MAX)
		return error_setx(err, ENOSPC, "--allow '%s': more than %u folders", name,
				  ALLOW_MAX);
	ret = open_dir(&allow->dir[allow->n], name, text);
	if (ret)
		return error_set(err, -ret, "--allow '%s': cannot open this folder", name);
	allow->n++;
	return 0;
}

int allow_add_folder_of(struct allow *allow, const char *file, struct error *err)
{
	const char *slash = strrchr(file, '/');
	char dir[PATH_MAX] = ".";

	if (slash && (size_t)(slash - file) + 1 >= sizeof(dir))
		return error_set(err, ENAMETOOLONG, "--allow: folder of '%s'", file);
	if (slash) {
		memcpy(dir, file, slash - file + 1);
		dir[slash - file + 1] = '\0';
	}
	return allow_add(allow, dir, err);
}

/* ---- opening ---- */

/* `path` from the folder on, or NULL. Of the folder itself nothing is opened but new files in it. */
static const char *within(const struct allowed_dir *dir, const char *path, int flags)
{
	const char *rest = rest_of(path, dir->text);

	if (!rest)
		rest = rest_of(path, dir->real);
	if (rest && *rest)
		return rest;
	if ((flags & O_TMPFILE) == O_TMPFILE &&
	    (!strcmp(path, dir->text) || !strcmp(path, dir->real)))
		return ".";
	return NULL;
}

/* Of several folders, one inside the other, any may do. */
int allow_open(const struct allow *allow, const char *path, int flags, mode_t *kind)
{
	char absolute[PATH_MAX];
	int best = -EXDEV;

	*kind = 0;
	if (!make_absolute(absolute, sizeof(absolute), allow->cwd, path))
		return -ENAMETOOLONG;
	for (unsigned i = 0; i < allow->n; i++) {
		const struct allowed_dir *dir = &allow->dir[i];
		const char *rest = within(dir, absolute, flags);
		int fd;

		if (!rest)
			continue;
		fd = blk_open_at(dir->fd, rest, RESOLVE, flags, kind);
		if (fd >= 0)
			return fd;
		if (fd != -EXDEV)
			best = fd;
	}
	return best;
}
