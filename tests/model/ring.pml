/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The split ring between a driver that never ends and a disk's thread, for spin: no lost kick, no
 * lost interrupt, no entry read before it is written.
 *
 * Memory is weaker than x86's: each word a side writes has a store buffer of its own, and the buffers
 * drain at any time and in any order. So a store may be overtaken by later loads (which x86 does) and
 * by later stores (which it does not). Loads are in order: what comes of loads that are not, the
 * explorer of the real code shows (explore.h).
 *
 * Indexes count modulo 4 instead of 65536, the ring has two entries instead of 1024.
 *
 * tests/model/run builds it once. Environment: EVENT_IDX=1, POLL=1 (the thread may look for work
 * before it sleeps, or not, each time anew), WITHOUT=n takes one step away, see below.
 *
 *	here				in the source
 *	driver()			guest/virtq.c, tests/unit/fake_driver.h, Linux's virtio_ring.c
 *	  submit			virtq_add()
 *	  publish			virtq_kick(): store of avail->idx, fence, kick_wanted()
 *	  reap				virtq_get()
 *	  want_irq			virtq_enable_irq()
 *	device()			virtio/blk/dataplane_loop.c, dataplane_run()
 *	  quiet				virtq_disable_notify(), from dataplane_io.c drain_queues()
 *	  take, give			virtq_pop(), virtq_push()
 *	  publish			virtq_publish(), from dataplane_io.c publish()
 *	  look				dataplane_poll.c, dataplane_look()
 *	  ask				ask_for_kicks(), virtq_enable_notify()
 *	  sleep				sleep_until_event(): an edge of the doorbell's eventfd
 */
#define M    4 /* indexes */
#define SIZE 2

/* Words. The driver's ... */
#define AVAIL_IDX   0
#define AVAIL_RING  1 /* and 2 */
#define USED_EVENT  3 /* or avail->flags: 1 is NO_INTERRUPT */
/* ... and the device's. */
#define USED_IDX    4
#define USED_RING   5 /* and 6 */
#define AVAIL_EVENT 7 /* or used->flags: 1 is NO_NOTIFY */

byte word[8];	 /* memory */
byte waiting[8]; /* in a store buffer */
bool held[8];	 /* there is one */

bool kick, irq;	 /* edges: the doorbell's eventfd, the interrupt in the APIC */
bool event_idx, poll;
byte without;

/* What WITHOUT takes away. */
#define FENCE_OF_PUBLISH     1 /* full_fence() in virtq_publish() */
#define FENCE_OF_ASKING	     2 /* full_fence() in virtq_enable_notify() */
#define RELEASE_OF_USED	     3 /* the release in virtq_publish() */
#define SECOND_LOOK	     4 /* virtq_enable_notify() says that there is no work */
#define ASKING		     5 /* no virtq_enable_notify() before the sleep */
#define DRIVERS_KICK_FENCE   6 /* the other side of FENCE_OF_ASKING */
#define DRIVERS_IRQ_FENCE    7 /* the other side of FENCE_OF_PUBLISH */
#define DRIVERS_RELEASE	     8 /* the driver's release of avail->idx */
#define DRIVERS_SECOND_LOOK  9 /* the driver sleeps without looking at used->idx again */

/* A store goes into the buffer; one that is still there is never seen. */
#define store(w, v)                                                                                \
	d_step {                                                                                   \
		waiting[w] = v;                                                                    \
		held[w] = true                                                                     \
	}

#define DRIVER_DRAINED (!held[0] && !held[1] && !held[2] && !held[3])
#define DEVICE_DRAINED (!held[4] && !held[5] && !held[6] && !held[7])

#define drain_one(w)                                                                               \
	d_step {                                                                                   \
		held[w] -> word[w] = waiting[w];                                                   \
		waiting[w] = 0;                                                                    \
		held[w] = false                                                                    \
	}

active proctype drain() /* both processors' */
{
end:
	do
	:: drain_one(0)
	:: drain_one(1)
	:: drain_one(2)
	:: drain_one(3)
	:: drain_one(4)
	:: drain_one(5)
	:: drain_one(6)
	:: drain_one(7)
	od
}

/* vring_need_event(): has the index passed `event` on its way from `old` to `new`? */
#define need_event(event, new, old) ((new + M - event - 1 + M) % M < (new - old + M) % M)

proctype driver()
{
	byte avail = M - 1, published = M - 1, used = M - 1, seen, wish, in_flight = 0;

	do
	:: /* submit: one or two, when there is room */
	   atomic {
		   do
		   :: in_flight < SIZE ->
			   store(AVAIL_RING + avail % SIZE, avail);
			   avail = (avail + 1) % M;
			   in_flight++
		   :: in_flight > 0 -> break
		   od
	   };
	   if
	   :: avail != published ->
		   /* publish */
		   (without == DRIVERS_RELEASE || (!held[AVAIL_RING] && !held[AVAIL_RING + 1]));
		   store(AVAIL_IDX, avail);
		   (without == DRIVERS_KICK_FENCE || DRIVER_DRAINED);
		   wish = word[AVAIL_EVENT];
		   atomic {
			   if
			   :: event_idx && need_event(wish, avail, published) -> kick = true
			   :: !event_idx && !wish -> kick = true
			   :: else
			   fi;
			   published = avail;
			   wish = 0
		   }
	   :: else
	   fi;
	   /* no interrupts while it looks */
	   if
	   :: event_idx -> store(USED_EVENT, (used + M - 1) % M)
	   :: else -> store(USED_EVENT, 1)
	   fi;
	   /* reap */
	   seen = word[USED_IDX];
	   if
	   :: seen == used ->
		   /* want_irq */
		   if
		   :: event_idx -> store(USED_EVENT, used)
		   :: else -> store(USED_EVENT, 0)
		   fi;
		   (without == DRIVERS_IRQ_FENCE || DRIVER_DRAINED);
		   if
		   :: without != DRIVERS_SECOND_LOOK && word[USED_IDX] != used
		   :: else -> irq; irq = false
		   fi
	   :: else ->
		   atomic {
			   do
			   :: used != seen ->
				   assert(word[USED_RING + used % SIZE] == used);
				   used = (used + 1) % M;
				   in_flight--
			   :: used == seen -> break
			   od
		   }
	   fi;
	   seen = 0
	od
}

proctype device()
{
	byte last = M - 1, next = M - 1, signalled = M - 1, seen, wish;
	bool notify_on = true, did;

	do
	:: did = false;
	   /* quiet */
	   if
	   :: notify_on && !event_idx -> store(AVAIL_EVENT, 1)
	   :: else
	   fi;
	   notify_on = false;
	   /* take and give: all that waits, or a part */
	   seen = word[AVAIL_IDX];
	   assert((seen - last + M) % M <= SIZE);
	   atomic {
		   do
		   :: last != seen ->
			   assert(word[AVAIL_RING + last % SIZE] == last);
			   store(USED_RING + next % SIZE, last);
			   last = (last + 1) % M;
			   next = (next + 1) % M;
			   did = true
		   :: last == seen || did -> break
		   od;
		   seen = 0
	   };
	   if
	   :: next != signalled ->
		   /* publish */
		   (without == RELEASE_OF_USED || (!held[USED_RING] && !held[USED_RING + 1]));
		   store(USED_IDX, next);
		   (without == FENCE_OF_PUBLISH || DEVICE_DRAINED);
		   wish = word[USED_EVENT];
		   atomic {
			   if
			   :: event_idx && need_event(wish, next, signalled) -> irq = true
			   :: !event_idx && !wish -> irq = true
			   :: else
			   fi;
			   signalled = next;
			   wish = 0
		   }
	   :: else
	   fi;
	   if
	   :: did
	   :: !did && poll && word[AVAIL_IDX] != last /* look */
	   :: !did ->
		   if
		   :: without == ASKING -> kick; kick = false
		   :: else ->
			   /* ask */
			   notify_on = true;
			   if
			   :: event_idx -> store(AVAIL_EVENT, last)
			   :: else -> store(AVAIL_EVENT, 0)
			   fi;
			   (without == FENCE_OF_ASKING || DEVICE_DRAINED);
			   if
			   :: without != SECOND_LOOK && word[AVAIL_IDX] != last
			   :: else -> kick; kick = false /* sleep */
			   fi
		   fi
	   fi
	od
}

init
{
	atomic {
		c_code {
			now.event_idx = !!getenv("EVENT_IDX");
			now.poll = !!getenv("POLL");
			now.without = getenv("WITHOUT") ? atoi(getenv("WITHOUT")) : 0;
		};
		word[AVAIL_IDX] = M - 1;
		word[USED_IDX] = M - 1;
		word[AVAIL_RING] = M;
		word[AVAIL_RING + 1] = M;
		word[USED_RING] = M;
		word[USED_RING + 1] = M;
		if
		:: event_idx ->
			word[AVAIL_EVENT] = M - 1;
			word[USED_EVENT] = M - 1
		:: else
		fi;
		run driver();
		run device()
	}
}
