/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The last part of an interrupt's way, for spin: from the disk's thread, which has something that the
 * driver wants to hear of (used elements, or NEEDS_RESET by a configuration interrupt), to a driver's
 * handler that looks at it. Nothing may stay unseen for ever: then all wait, and spin says so.
 *
 * MMIO=1: virtio-mmio, one edge line and InterruptStatus; PAGE=1 besides: its bit 0 reads 1 always.
 * Neither: MSI-X, whose vector the driver masks and unmasks, by taking the irqfd off the eventfd and
 * putting it back. WITHOUT=n takes one step away, see below. tests/model/run builds it once.
 *
 *	here			in the source
 *	device()		dataplane_io.c publish() and break_device()
 *	  set, ring		vmm/irq.h irq_line_signal()
 *	handler			Linux's vm_interrupt(): read the status, acknowledge, then look;
 *				virtio/virtio_mmio.c read_register(), acknowledge(), queue_line()
 *	mask, unmask		vmm/msix.c update_vector(), assign_vector()
 *	ring, unmask, mask	Linux's virt/kvm/eventfd.c: irqfd_wakeup(), kvm_irqfd_assign(),
 *				kvm_irqfd_deassign(), each under the eventfd's lock
 */
#define ROUNDS 3
#define MASKS  2

byte used, used_seen;	  /* what there is, what the driver knows of */
bool config, config_seen;
bool used_bit, config_bit; /* InterruptStatus */
bool count;		  /* the eventfd's counter is not 0 */
bool assigned;		  /* the irqfd is on the eventfd */
bool irr;		  /* an edge waits in the interrupt controller */
bool mmio, page;
byte without;

/* What WITHOUT takes away. */
#define STATUS_FIRST   1 /* irq_line_signal() writes the eventfd before it sets the status */
#define ATOMIC_ACK     2 /* acknowledge() is a load and a store */
#define ACK_FIRST      3 /* the driver looks before it acknowledges */
#define LOOK_AT_ASSIGN 4 /* KVM_IRQFD does not look at the counter: nothing asks it to */
#define ALWAYS_WRITE   5 /* the device does not write the eventfd of a masked vector */
#define UNMASK_LAST    6 /* the driver masks for good */

inline ring()
{
	d_step {
		if
		:: assigned -> irr = true /* irqfd_wakeup() empties the counter */
		:: else -> count = true
		fi
	}
}

/* One bit of the two; with MSI-X there is none. */
inline set(what, stands)
{
	if
	:: mmio && !stands -> what = true
	:: else
	fi
}

inline signal(what, stands)
{
	if
	:: without == STATUS_FIRST -> ring(); set(what, stands)
	:: without == ALWAYS_WRITE && masked
	:: else -> set(what, stands); ring()
	fi
}

proctype device()
{
	bool masked;

	do
	:: used < ROUNDS -> masked = !assigned; used++; signal(used_bit, page)
	:: !config -> masked = !assigned; config = true; signal(config_bit, false)
	:: used == ROUNDS && config -> break
	od
}

inline acknowledge()
{
	if
	:: without == ATOMIC_ACK ->
		old_used = used_bit;
		old_config = config_bit;
		d_step {
			used_bit = old_used && !see_used;
			config_bit = old_config && !see_config
		}
	:: else ->
		d_step {
			used_bit = used_bit && !see_used;
			config_bit = config_bit && !see_config
		}
	fi
}

inline look()
{
	if
	:: see_used -> used_seen = used
	:: else
	fi;
	if
	:: see_config -> config_seen = config
	:: else
	fi
}

#define ALL_SEEN (used_seen == ROUNDS && config_seen)

proctype driver()
{
	bool see_used, see_config, old_used, old_config;
	byte masks;

	do
	:: ALL_SEEN -> break
	:: irr ->
		/* handler */
		irr = false;
		d_step {
			see_used = !mmio || page || used_bit;
			see_config = !mmio || config_bit
		}
		if
		:: without == ACK_FIRST -> look(); acknowledge()
		:: else -> acknowledge(); look()
		fi
	:: !mmio && assigned && masks < MASKS -> assigned = false; masks++
	:: !mmio && !assigned && !(without == UNMASK_LAST && masks == MASKS) ->
		d_step {
			assigned = true;
			if
			:: count && without != LOOK_AT_ASSIGN -> irr = true; count = false
			:: else
			fi
		}
	od
}

init
{
	atomic {
		c_code {
			now.mmio = !!getenv("MMIO");
			now.page = !!getenv("PAGE");
			now.without = getenv("WITHOUT") ? atoi(getenv("WITHOUT")) : 0;
		};
		assigned = true;
		run device();
		run driver()
	}
}
