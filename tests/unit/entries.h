/* SPDX-License-Identifier: Apache-2.0 */
/* How much there is in a folder, before and after. Include <cmocka.h> before. */
#ifndef MVMM_TESTS_ENTRIES_H
#define MVMM_TESTS_ENTRIES_H

#include <dirent.h>

static inline unsigned entries(const char *dir)
{
	DIR *d = opendir(dir);
	unsigned n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

#endif
