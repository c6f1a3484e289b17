/* SPDX-License-Identifier: Apache-2.0 */
/* One HTTP/1 request as it comes in, piece by piece, within bounds. */
#ifndef MVMM_CLI_API_MESSAGE_H
#define MVMM_CLI_API_MESSAGE_H

#include <http_parser.h>
#include <stdbool.h>
#include <stddef.h>

#define MESSAGE_MAX_HEAD (8 * 1024) /* request line and headers */
#define MESSAGE_MAX_URL	 1024
#define MESSAGE_MAX_BODY (64 * 1024)

struct message {
	http_parser parser;
	char url[MESSAGE_MAX_URL + 1];
	size_t url_len;
	char *body; /* owned; with a NUL behind it */
	size_t body_len, body_room;
	size_t head_len;
	bool begun;	   /* its first byte is there */
	bool headed;	   /* and all of its headers */
	bool complete;	   /* and its body */
	bool keep_alive;   /* the client would like to ask more on this connection */
	bool expects;	   /* it waits for "100 Continue" */
	int status;	   /* what is wrong with it; 0: nothing so far */
	const char *why;   /* in words */
	char header[8];	   /* the beginning of this header's name, */
	size_t header_len; /* its length, */
	char value[16];	   /* and its value's */
	size_t value_len;
	bool in_value; /* its name is complete */
};

void message_init(struct message *msg);
void message_free(struct message *msg);

/* Takes bytes up to the end of the request, or to what is wrong; how many. `len` 0: there will be no
 * more. */
size_t message_feed(struct message *msg, const char *data, size_t len);

#endif
