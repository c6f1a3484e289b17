/* SPDX-License-Identifier: Apache-2.0 */
/* Requests in a row, first in, first out, linked by their `next`: in no other list meanwhile. */
#ifndef MVMM_BLK_REQUEST_LIST_H
#define MVMM_BLK_REQUEST_LIST_H

#include "virtio/blk/request.h"

struct blk_request_list {
	struct blk_request *first; /* NULL: empty */
	struct blk_request *last;
};

static inline void blk_list_add(struct blk_request_list *list, struct blk_request *req)
{
	req->next = NULL;
	if (list->first)
		list->last->next = req;
	else
		list->first = req;
	list->last = req;
}

/* The first one, out of the list, or NULL. */
static inline struct blk_request *blk_list_take(struct blk_request_list *list)
{
	struct blk_request *req = list->first;

	if (req) {
		list->first = req->next;
		req->next = NULL;
	}
	return req;
}

#endif
