/* SPDX-License-Identifier: Apache-2.0 */
/* Text of the host's, which may be any bytes, as JSON. Main; knows no route. */
#include <stdlib.h>
#include <string.h>

#include "vmm/cli/api/api.h"

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

/* Bytes of the UTF-8 sequence at `s`, as far as jansson takes it; 0: it is none. */
static size_t sequence(const char *s)
{
	json_t *one;

	for (size_t len = 1; len <= 4 && s[len - 1]; len++) {
		one = json_stringn(s, len);
		json_decref(one);
		if (one)
			return len;
	}
	return 0;
}

json_t *api_string(const char *text)
{
	json_t *json = text ? json_string(text) : json_null();
	char *fixed, *to;

	if (json)
		return json;
	fixed = to = malloc(strlen(text) * 3 + 1);
	if (!fixed)
		return NULL;
	while (*text) {
		const size_t len = sequence(text);

		to = len ? mempcpy(to, text, len) : mempcpy(to, REPLACEMENT, 3);
		text += len ? len : 1;
	}
	*to = '\0';
	json = json_string(fixed);
	free(fixed);
	return json;
}
