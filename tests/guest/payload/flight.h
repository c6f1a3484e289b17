/* SPDX-License-Identifier: Apache-2.0 */
/* Requests on disk 0 that are in flight when something happens to the device. */
#ifndef PAYLOAD_FLIGHT_H
#define PAYLOAD_FLIGHT_H

#include "guest/blk.h"
#include "workload.h"

#define FLIGHT_MAX 128

struct flight {
	struct blk_req req[FLIGHT_MAX];
	unsigned n, sectors; /* requests, and of each */
	struct virtq *vq;
	struct shadow *shadow;
};

struct flight *flight_new(unsigned n, unsigned sectors);

/* The first sector of request `i`. */
uint64_t flight_sector(const struct flight *f, unsigned i);

/* Writes and reads in turn, each on its own range, on queue 0 of a started device. */
void flight_take_off(struct flight *f, struct blk *blk, unsigned round);
/* Writes only. */
void flight_take_off_writes(struct flight *f, struct blk *blk);

/* Poisons everything the device could still write to, waits, and looks: nobody wrote there. */
bool flight_memory_is_quiet(struct flight *f);

/* No interrupt that means anything has come since `before` were seen. */
bool flight_irqs_are_quiet(struct virtio *dev, uint32_t before);

/* On a device started anew: each sector holds what was there before or what was to be written. */
bool flight_settle(struct flight *f, struct blk *blk);

#endif
