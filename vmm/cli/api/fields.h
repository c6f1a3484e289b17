/* SPDX-License-Identifier: Apache-2.0 */
/* JSON held to a table of fields. */
#ifndef MVMM_CLI_API_FIELDS_H
#define MVMM_CLI_API_FIELDS_H

#include "vmm/cli/api/api.h"
#include "vmm/error.h"

/*
 * The JSON of `text`, an object that has nothing but `fields` (NULL: none), each as it should be.
 * Empty text is an empty object. NULL with a message: where it is wrong, or which field.
 */
json_t *fields_parse(const char *text, size_t len, const struct api_field *fields,
		     struct error *err);

/* "a=1&b=x", percent-encoded, as an object held to `fields`. */
json_t *fields_parse_query(const char *text, size_t len, const struct api_field *fields,
			   struct error *err);

/* Decodes %XX. The length, or -1: not well-formed, a NUL, or too long. `to` gets a NUL. */
int fields_decode(const char *text, size_t len, char *to, size_t room);

#endif
